"""Requests of the Segment tracking API, read as far as ingest must look into them (reference: ingest-api).

Properties, traits and context stay raw JSON: decoding and encoding them again would take 6 µs an event.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from services.kernel.outcome import BadRecord

TRACK = "track"
IDENTIFY = "identify"
PAGE = "page"
SCREEN = "screen"
GROUP = "group"
ALIAS = "alias"
TYPES = frozenset({TRACK, IDENTIFY, PAGE, SCREEN, GROUP, ALIAS})

MAX_EVENT = 32 * 1024
MAX_EVENTS = 2_500

Text = str | int | float | None
"""Ids may arrive as numbers."""
NULL = Raw(b"null")


class Call(Struct, gc=False):
    """One call; the members that are not named here are not kept."""

    type: str | None = None
    messageId: Text = None
    userId: Text = None
    anonymousId: Text = None
    previousId: Text = None
    groupId: Text = None
    event: Text = None
    name: Text = None
    category: Text = None
    timestamp: Text = None
    originalTimestamp: Text = None
    sentAt: Text = None
    properties: Raw = NULL
    traits: Raw = NULL
    context: Raw = NULL
    integrations: Raw = NULL


class _Single(Struct, gc=False):
    writeKey: str | None = None


class _Batch(Struct, gc=False):
    batch: list[Raw]
    writeKey: str | None = None
    sentAt: Text = None
    context: Raw = NULL
    integrations: Raw = NULL


class Request(NamedTuple):
    """What one HTTP request brought. ``type``: of its only call, where the path says so."""

    calls: list[bytes]
    type: str | None
    write_key: str | None
    sent_at: Text
    context: Raw
    integrations: Raw


_single = msgspec.json.Decoder(_Single)
_batch = msgspec.json.Decoder(_Batch)
_call = msgspec.json.Decoder(Call)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)"
)


_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_CUT = 64
"""Levels that are left of what is nested too deep to be read: more than a call may have (limits.py)."""


def read_request(body: bytes, type_: str | None) -> Request:
    """The calls of a request; ``type_`` None for a batch.

    Raises BadRecord: "unreadable" for what is no JSON of the shape, "too_large" for too many events or a
    single one that is too large.
    """
    if type_ is not None and len(body) > MAX_EVENT:
        raise BadRecord("too_large", f"the event has more than {MAX_EVENT} bytes")
    try:
        return _read(body, type_)
    except msgspec.ValidationError as error:
        raise BadRecord("unreadable", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError:
        body = _cut(body)
    try:
        return _read(_mended(body), type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRecord("unreadable", "the body is no JSON") from None


def _read(body: bytes, type_: str | None) -> Request:
    body.decode()  # what stays raw is not looked at by msgspec
    if type_ is not None:
        return Request([body], type_, _single.decode(body).writeKey, None, NULL, NULL)
    batch = _batch.decode(body)
    if len(batch.batch) > MAX_EVENTS:
        raise BadRecord("too_large", f"more than {MAX_EVENTS} events")
    return Request(
        [bytes(call) for call in batch.batch],
        None,
        batch.writeKey,
        batch.sentAt,
        batch.context,
        batch.integrations,
    )


def _cut(body: bytes) -> bytes:
    """The body with 0 for what is nested too deep: its call is refused for the levels that are left, and the
    others go on."""
    kept: list[bytes] = []
    depth = position = 0
    for found in _STRUCTURE.finditer(body):
        sign = found.group()
        if sign in (b"{", b"["):
            depth += 1
            if depth == _CUT + 1:
                kept += (body[position : found.start()], b"0")
        elif sign in (b"}", b"]"):
            if depth == _CUT + 1:
                position = found.end()
            depth -= 1
    return b"".join((*kept, body[position:])) if depth == 0 else b""


def _mended(body: bytes) -> bytes:
    """The body with halves of surrogate pairs replaced: browsers send them for texts cut within an emoji,
    and one such event must not cost the whole batch."""
    return _ESCAPE.sub(lambda found: b"\\ufffd" if _is_half(found.group()) else found.group(), body)


def _is_half(escape: bytes) -> bool:
    return len(escape) == len(b"\\ud83d") and escape[1:3].lower() == b"ud"


def read_call(raw: bytes) -> Call:
    """One call of a request. Raises BadRecord as :func:`decode_call`, and "too_large"."""
    if len(raw) > MAX_EVENT:
        raise BadRecord("too_large", f"more than {MAX_EVENT} bytes")
    return decode_call(raw)


def decode_call(raw: bytes) -> Call:
    """A call of any size. Raises BadRecord: "too_deep", or "bad_field" naming the field and what was expected
    there."""
    try:
        return _call.decode(raw)
    except msgspec.DecodeError as error:
        raise BadRecord("bad_field", str(error)) from None
    except RecursionError:
        raise BadRecord("too_deep", "$") from None
