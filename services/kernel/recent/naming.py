"""What of an event may be shown to whoever asks whether it arrived: names and types, never its payload."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from services.kernel import codec, headers
from services.kernel.events import Event
from services.kernel.outcome import BadRecord

_MASK = re.compile(
    r"\[card [^\]]{1,40}\]|\[digits\]|(?:=|%(?:25)*3D)\*\*\*|"
    r"(?i:cv[vcnd]2?|csc|code|verification[\W_]?(?:value|number))(?:[\W_]?(?:code|number|no|is))?[\W_]{1,8}\*\*\*"
)
"""What ingest puts in the place of card numbers, and behind the names of parameters and security codes."""
_MASK_BYTES = re.compile(_MASK.pattern.encode())
_LONGEST = 200
"""Characters shown of a text that no stage has checked."""


class Named(NamedTuple):
    """None where it is missing or can't be read. ``masked``: whether a mask stands in what is stored."""

    message_id: str | None = None
    type: str | None = None
    event: str | None = None
    masked: bool = False


class _Call(Struct):
    """A bad call as far as it can be shown: its members may be of any type."""

    messageId: Any = None
    type: Any = None
    event: Any = None
    name: Any = None


def of_event(data: bytes | None) -> Named:
    """Of a record of an event, or of its dead letter's payload."""
    try:
        event = codec.decode(Event, data)
    except BadRecord:
        return Named()
    masked = bool(_MASK_BYTES.search(event.payload) or _MASK.search(event.name or ""))
    return Named(event.message_id, event.type, event.name, masked)


def of_call(data: bytes) -> Named:
    """Of the payload of ingest's dead letter: what is text, shortened."""
    try:
        call = msgspec.json.decode(data, type=_Call)
    except msgspec.DecodeError:
        return Named()
    event = call.event if call.event is not None else call.name
    return Named(_text(call.messageId), _text(call.type), _text(event), bool(_MASK_BYTES.search(data)))


def started_of(record: Any) -> int | None:
    """The start of the request, as aiokafka's ConsumerRecord says it."""
    found = headers.value(record.headers, headers.STARTED) or b""
    return int(found) if found.isdigit() else None


def _text(value: Any) -> str | None:
    return value[:_LONGEST] if isinstance(value, str) else None
