"""What a client may do to a server that it never finishes a request for, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from services.kernel.connection import ANSWER, Connection

IMPATIENT = pytest.mark.parametrize("server", [0.3], indirect=True)
WAITING = pytest.mark.parametrize("server", [2], indirect=True)
"""Long enough for a request on a busy machine, short enough to wait for."""


class Server:
    """Answers 200 with how many bytes the body has, once it ``may``. ``seconds``: the deadline. ``gone``: a
    client left. ``at_once``: whether it answers whole. ``more``: what comes behind the number."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.gone = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()
        self.at_once = False
        self.more = b""
        self.answered = 0
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        await self.may.wait()
        body = b"%d" % size + self.more
        self.answered += 1
        if self.at_once:
            scope["extensions"][ANSWER](200, (), body)
            return
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))],
            }
        )
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    application = Server(getattr(request, "param", 60))

    class Limited(Connection):
        seconds = application.seconds
        longest_head = 4_000
        most_headers = 20
        most_waiting = 2
        most = 3

    running = uvicorn.Server(
        uvicorn.Config(application, port=0, http=Limited, ws="none", lifespan="off", log_config=None)
    )
    serving = asyncio.create_task(running.serve())
    async with asyncio.timeout(60):
        while not running.started:
            await asyncio.sleep(0.01)
    application.port = running.servers[0].sockets[0].getsockname()[1]
    yield application
    running.should_exit = True
    await serving


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def all_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.read()


@IMPATIENT
@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHost: a\r\n"])
async def test_a_head_that_does_not_come_to_an_end_is_given_up(server: Server, sent: bytes) -> None:
    async with connected(server) as (reader, writer):
        writer.write(sent)
        assert (await all_of(reader)).startswith(b"HTTP/1.1 408 ")


@IMPATIENT
async def test_a_body_that_does_not_come_to_an_end_is_given_up(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert (await all_of(reader)).startswith(b"HTTP/1.1 408 ")
        await asyncio.wait_for(server.gone.wait(), 60)


@WAITING
async def test_the_second_request_of_a_connection_has_a_deadline_too(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        assert await reader.readuntil(b"\r\n\r\n3")
        writer.write(b"POST / HTTP/1.1\r\nHost: ")
        assert (await all_of(reader)).startswith(b"HTTP/1.1 408 ")


@WAITING
async def test_an_idle_connection_is_kept(server: Server) -> None:
    """Between requests nothing is late."""
    async with connected(server) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            assert await reader.readuntil(b"\r\n\r\n3")
            await asyncio.sleep(1.5 * server.seconds)


async def test_a_head_without_end_is_refused(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nX: " + b"a" * 10_000)
        assert (await all_of(reader)).startswith(b"HTTP/1.1 431 ")


async def test_a_large_body_in_one_piece_is_no_large_head(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + b"a" * 20_000)
        assert await reader.readuntil(b"20000")


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"


async def test_a_large_head_in_one_piece_is_refused_whatever_follows(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(POST + b"X: " + b"a" * 5_000 + b"\r\n\r\nabc")
        assert (await all_of(reader)).startswith(b"HTTP/1.1 431 ")


async def test_many_small_headers_are_refused(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(POST + b"a:\r\n" * 30 + b"\r\nabc")
        assert (await all_of(reader)).startswith(b"HTTP/1.1 431 ")


async def test_requests_that_do_not_wait_for_answers_are_few(server: Server) -> None:
    server.may.clear()
    async with connected(server) as (reader, writer):
        writer.write((POST + b"\r\nabc") * 10)
        assert await all_of(reader) == b""
    async with connected(server) as (reader, writer):
        writer.write((POST + b"\r\nabc") * 3)
        server.may.set()
        for _ in range(3):
            assert await reader.readuntil(b"\r\n\r\n3")


async def test_a_connection_too_many_is_refused_until_another_ends(server: Server) -> None:
    async with connected(server) as (reader, writer), connected(server), connected(server):
        writer.write(POST + b"\r\nabc")
        assert await reader.readuntil(b"\r\n\r\n3")
        async with connected(server) as (fourth, _):
            refused = await all_of(fourth)
            assert refused.startswith(b"HTTP/1.1 503 ") and b"retry-after: 2\r\n" in refused
        writer.write(POST + b"\r\nabc")
        assert await reader.readuntil(b"\r\n\r\n3")
    async with asyncio.timeout(60):
        while True:
            async with connected(server) as (reader, writer):
                writer.write(POST + b"\r\nabc")
                if (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 "):
                    return


@pytest.mark.parametrize("method", [b"POST", b"HEAD"])
@pytest.mark.parametrize("closes", [True, False])
async def test_a_whole_answer_is_what_the_other_way_gives(
    server: Server, method: bytes, closes: bool
) -> None:
    request = POST.replace(b"POST", method) + (b"Connection: close\r\n" if closes else b"") + b"\r\nabc"
    found = []
    for server.at_once in (False, True):
        async with connected(server) as (reader, writer):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            found.append(sorted(line for line in head if not line.startswith(b"date: ")))
            if closes:
                assert await all_of(reader) == (b"" if method == b"HEAD" else b"3")
            else:
                writer.write(POST + b"\r\nabc")
                assert await reader.readuntil(b"\r\n\r\n3")
    assert found[0] == found[1]


async def test_who_does_not_read_answers_is_not_read_from(server: Server) -> None:
    server.at_once, server.more = True, b"x" * 1_000_000
    async with connected(server) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            with pytest.raises(TimeoutError):
                while True:
                    answered = server.answered
                    writer.write(POST + b"\r\nabc")
                    async with asyncio.timeout(1):
                        while server.answered == answered:
                            await asyncio.sleep(0.01)
                    assert server.answered < 100
        finally:
            writer.transport.abort()
