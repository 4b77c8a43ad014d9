"""Bounds on what one HTTP connection may hold or hold up before its request is complete.

uvicorn bounds neither: a head without end would fill the memory, and a request that trickles in keeps its
connection and its bytes for ever.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LATE = b"408 Request Timeout"
_LARGE = b"431 Request Header Fields Too Large"
_HEADERS = b"content-length: 0\r\nconnection: close\r\naccess-control-allow-origin: *\r\n"


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with a deadline and a limit.

    A request that is not complete ``seconds`` after its first byte (the first one: after the connection was
    made) is answered with 408, which SDKs retry, and its connection closed. So is one whose request line and
    headers have more than about ``longest_head`` bytes, with 431.

    One timer a connection, which looks how long the request of that moment takes; one a request cost 3 µs.
    """

    seconds: ClassVar[float] = 60
    longest_head: ClassVar[int] = 65_536

    _timer: asyncio.TimerHandle | None = None
    _began: float | None = None
    _in_head = True
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
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
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._began = None
        self._in_head, self._head = True, 0
        super().on_message_complete()

    def _look(self) -> None:
        """Refuse a request that has had its time; come again when the one under way, or the next, may."""
        now = self.loop.time()
        left = self.seconds if self._began is None else self._began + self.seconds - now
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self._refuse(_LATE)

    def _refuse(self, status: bytes) -> None:
        """To the application it is a client that went away. No answer breaks into the one before."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is None or (cycle.response_complete if self._in_head else not cycle.response_started):
            self.transport.write(b"HTTP/1.1 %s\r\n%s\r\n" % (status, _HEADERS))
        self.transport.close()
