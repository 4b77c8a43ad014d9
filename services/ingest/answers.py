"""Answers on the write-key paths: in the words that SDKs read, and readable for pages of any origin."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import Any

import msgspec

from services.kernel.connection import Answer, Headers
from services.kernel.http import RETRY_SECONDS

RETRY = ((b"retry-after", b"%d" % RETRY_SECONDS),)
_ANY_ORIGIN = ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"retry-after"))
_ALLOWED = (
    b"authorization, content-type, content-encoding, x-retry-count, x-candor-test, anonymousid, sentat, *"
)
"""By name for old browsers, RudderStack's ``anonymousid`` and ``sentat`` among them; ``*``, which never
stands for ``authorization``, for what SDKs may yet add."""
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")
_IMAGE = (
    (b"content-type", b"image/gif"),
    (b"cache-control", b"no-store"),
    (b"access-control-allow-origin", b"*"),
)
_GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    b"!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;"
)
"""One transparent pixel."""
_SUCCESS = b'{"success":true}'
_SUCCESS_HEADERS = (_JSON, (b"access-control-allow-origin", b"*"))
"""There is nothing to expose, and every header costs."""


def retry_after(seconds: float) -> Headers:
    """Whole seconds, at least one, and at most what browser SDKs take."""
    return ((b"retry-after", b"%d" % min(300, max(1, ceil(seconds)))),)


def succeed(answer: Answer) -> None:
    """What was sent is durable."""
    answer(200, _SUCCESS_HEADERS, _SUCCESS)


def tell(answer: Answer, document: Any) -> None:
    """A JSON document."""
    answer(200, (_JSON, *_ANY_ORIGIN), msgspec.json.encode(document))


def image(answer: Answer) -> None:
    """A transparent picture of one pixel, which must be asked for each time."""
    answer(200, _IMAGE, _GIF)


def preflight(answer: Answer, method: str) -> None:
    """A browser asks whether a page of another origin may send here; it remembers the answer for a day."""
    headers = (
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", f"{method}, OPTIONS".encode()),
        (b"access-control-allow-headers", _ALLOWED),
        (b"access-control-max-age", b"86400"),
    )
    answer(204, headers, b"")


def refuse(answer: Answer, status: int, code: str, message: str, headers: Headers = ()) -> None:
    """A problem document that also carries what the various SDKs read: success, code, message, error."""
    title = HTTPStatus(status).phrase
    text = message or title
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": text,
        "success": False,
        "code": code,
        "message": text,
        "error": text,
    }
    answer(status, (_PROBLEM, *_ANY_ORIGIN, *headers), msgspec.json.encode(document))
