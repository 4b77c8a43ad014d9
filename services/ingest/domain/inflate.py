"""Request bodies, decompressed piece by piece within bounds, so that a small one can't fill the memory."""

from __future__ import annotations

import zlib

from services.kernel.outcome import BadRecord

MAX_BODY = 500 * 1024
_MAX_RECEIVED = MAX_BODY + 1024
"""gzip makes what can't be compressed larger, by 0.03 %; without a bound its header could go on for ever."""
MAX_RATIO = 200
"""Batches of nearly equal events reach 60; deflate could reach 1,032."""
_RATIO_FROM = 64 * 1024
"""Below this size any ratio is harmless."""


class Body:
    """A request body as it arrives. Raises BadRecord: "too_large" past MAX_BODY bytes of JSON, "bad_gzip" for
    anything but one gzip stream (no SDK sends several in a row, and each would cost a new decompressor).

    ``size``: bytes of JSON so far.
    """

    __slots__ = ("_decompressor", "_parts", "_received", "size")

    def __init__(self, *, gzip: bool) -> None:
        self._decompressor = zlib.decompressobj(wbits=31) if gzip else None
        self._parts: list[bytes] = []
        self._received = 0
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self._received += len(data)
        if self._received > _MAX_RECEIVED:
            raise BadRecord("too_large", f"the body has more than {MAX_BODY} bytes")
        if self._decompressor is None:
            self._keep(data)
            return
        try:
            self._keep(self._decompressor.decompress(data, MAX_BODY - self.size + 1))
        except zlib.error:
            raise BadRecord("bad_gzip", "the body is no gzip") from None
        if self.size > _RATIO_FROM and self.size > MAX_RATIO * self._received:
            raise BadRecord("too_large", f"the body is compressed more than {MAX_RATIO} times")
        if self._decompressor.unused_data:
            raise BadRecord("bad_gzip", "something follows the gzip stream")

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_BODY:
            raise BadRecord("too_large", f"the body has more than {MAX_BODY} bytes")
        self._parts.append(data)

    def whole(self) -> bytes:
        """The body, once all pieces are in."""
        if self._decompressor is not None and not self._decompressor.eof:
            raise BadRecord("bad_gzip", "the gzip stream ends too early")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
