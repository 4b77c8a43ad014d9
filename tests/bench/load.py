"""The load generator, a process of its own: sends prepared bodies as fast as they are answered, or paced.

python -m tests.bench.load FILE PORT CONNECTIONS RATE RESULT [AUTHORIZATION]

FILE holds the bodies, each after its length (4 bytes, big-endian). RATE is requests a second, 0 for no limit.
RESULT becomes JSON: the monotonic times in nanoseconds at which the first request began and at which each was
answered with 200, in the order of FILE; the number of repeats after a 503; and the CPU seconds. Any other
status ends the process with 1.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop

from tests.bench.workload import USER_AGENT

PAUSE_AFTER_503 = 0.05


class Failed(Exception):
    """An answer that is neither 200 nor 503."""


class Connection(asyncio.Protocol):
    """One request at a time over one kept-alive connection."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = self._received[:end].lower()
        start = head.index(b"content-length:") + 15
        if len(self._received) >= end + 4 + int(head[start : (head + b"\r").index(b"\r", start)]):
            answer, self._received = self._received, b""
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Failed(f"the connection was closed: {error}"))

    async def request(self, head: bytes, body: bytes) -> int:
        """The status of the answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines((head % len(body), body))
        answer = await self._answer
        status = int(answer[9:12])
        if status not in (200, 503):
            raise Failed(answer[:500].decode(errors="replace"))
        return status


def bodies(file: Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of each body of the file."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = number = 0
        while position < len(data):
            size = int.from_bytes(data[position : position + 4], "big")
            yield number, data[position + 4 : position + 4 + size]
            position, number = position + 4 + size, number + 1


async def run(file: Path, port: int, connections: int, rate: float, authorization: str) -> dict[str, object]:
    """Send everything; the result as it stands in RESULT."""
    loop = asyncio.get_running_loop()
    head = (
        f"POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {authorization}\r\n"
        f"User-Agent: {USER_AGENT}\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    waiting = bodies(file)
    answered: dict[int, int] = {}
    repeats = 0
    started = time.monotonic_ns()

    async def work() -> None:
        nonlocal repeats
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        for number, body in waiting:
            if rate and (pause := started / 1e9 + number / rate - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            while await connection.request(head, body) == 503:
                repeats += 1
                await asyncio.sleep(PAUSE_AFTER_503)
            answered[number] = time.monotonic_ns()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work())
    times = [answered[number] for number in range(len(answered))]
    return {"started": started, "answered": times, "repeats": repeats, "cpu": time.process_time()}


def main(arguments: list[str]) -> None:
    file, port, connections, rate, result, *authorization = arguments
    done = uvloop.run(run(Path(file), int(port), int(connections), float(rate), "".join(authorization)))
    Path(result).write_text(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1:])
