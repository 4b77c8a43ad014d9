"""Bounds on what HTTP connections may hold or hold up before their requests are complete; whole answers.

uvicorn sets none: a head without end would fill the memory, so would many small ones, and a request that
trickles in keeps its connection and its bytes for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
Answer: TypeAlias = Callable[[int, Headers, bytes], None]
"""Answers a request: status, headers (names in lower case, without the content's length) and body."""
ANSWER = "candor.answer"
"""The scope's extension that is an Answer: one write and no detour, where ASGI's two messages make two."""

_LATE = b"408 Request Timeout"
_LARGE = b"431 Request Header Fields Too Large"
_FULL = b"503 Service Unavailable"
_HEADERS = (
    b"content-length: 0\r\nconnection: close\r\naccess-control-allow-origin: *\r\n"
    b"access-control-expose-headers: retry-after\r\n"
)


class _Refused(Exception):
    """Stops the parser at a head that is refused."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with a deadline and limits.

    A request that is not complete ``seconds`` after its first byte (the first one: after the connection was
    made) is answered with 408, which SDKs retry, and its connection closed. So is one whose request line and
    headers have more than ``longest_head`` bytes (about) or ``most_headers``, each of which takes 150 bytes
    however short it is, with 431; one that comes while ``most_waiting`` others of its connection wait to be
    begun, which no client does; and a connection beyond ``most`` of the process, with 503.

    A client that does not read its answers is not read from any more either.

    One timer a connection, which looks how long the request of that moment takes; one a request cost 3 µs.
    """

    seconds: ClassVar[float] = 60
    longest_head: ClassVar[int] = 16_384
    most_headers: ClassVar[int] = 100
    most_waiting: ClassVar[int] = 8
    most: ClassVar[int] = 4_000

    _timer: asyncio.TimerHandle | None = None
    _began: float | None = None
    _in_head = True
    _head = 0
    _refusal: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(_FULL, b"retry-after: 2\r\n")
            return
        self._began = self.loop.time()
        self._timer = self.loop.call_later(self.seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > self.longest_head:
            self._refuse(_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._began is None:
            self._began = self.loop.time()

    def on_headers_complete(self) -> None:
        if self._is_large() or len(self.pipeline) >= self.most_waiting:
            self._refusal = _LARGE
            raise _Refused
        self._in_head = False
        super().on_headers_complete()
        self.scope["extensions"] = {ANSWER: partial(self._answer, self.cycle)}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        self._began = None
        self._in_head, self._head = True, 0
        super().on_message_complete()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    def _answer(self, cycle: Any, status: int, headers: Headers, body: bytes) -> None:
        """As an Answer. What a client that went away would have got is dropped."""
        if cycle.disconnected or cycle.response_started:
            return
        cycle.response_started = cycle.response_complete = True
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(body))
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            parts.append(body)
        self.transport.write(b"".join(parts))
        cycle.message_event.set()
        cycle.scope["extensions"].clear()  # it holds the cycle, which would have to wait for the collector
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        if self.flow.write_paused:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """Called for whatever stopped the parser."""
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._refuse(self._refusal)

    def _is_large(self) -> bool:
        """Whether the head that is complete now is larger than it may be: what came with it may be body."""
        if len(self.headers) > self.most_headers:
            return True
        return (
            self._head
            > self.longest_head
            < len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
        )

    def _look(self) -> None:
        """Refuse a request that has had its time; come again when the one under way, or the next, may."""
        now = self.loop.time()
        left = self.seconds if self._began is None else self._began + self.seconds - now
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self._refuse(_LATE)

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        """To the application it is a client that went away. No answer breaks into the one before."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is None or (cycle.response_complete if self._in_head else not cycle.response_started):
            self.transport.write(b"HTTP/1.1 %s\r\n%s%s\r\n" % (status, _HEADERS, headers))
        self.transport.close()


def at_most(connections: int) -> type[Connection]:
    """The protocol for a process that may have so many connections."""
    return type("Connection", (Connection,), {"most": connections})
