"""What one event may hold, so that everything behind ingest can read it in bounded time and store it. What a
person has put right is held to the same."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from services.kernel.outcome import BadRecord

MAX_DEPTH = 32
"""Objects and arrays in one another, the call itself being the first."""
MAX_KEYS = 1_000
"""Members of all objects of a call."""
MAX_STRING = 16_384
"""Characters of a text or a name."""
LARGEST = 2**64 - 1
"""Whole numbers reach from minus this to this, all others as far as double precision does (IEEE 754)."""
TOP_LEVEL = ("messageId", "userId", "anonymousId", "previousId", "groupId")
"""Members of a call that become text, so that numbers of any size fit."""

_ZEROS = bytes.maketrans(b"123456789E", b"000000000e")
_LONG = b"0" * len(str(LARGEST))
_HUGE = re.compile(rb"0e\+?000+\s*[,}\]]")
_SPEAKABLE = re.compile(r"[A-Za-z_$][A-Za-z_$ \-]{0,39}")
_DECODER = msgspec.json.Decoder(float_hook=float)


def check(raw: bytes, *, harmless: bool) -> None:
    """Raises BadRecord for a call that breaks a limit, with its place: "too_deep", "too_many_keys",
    "string_too_long", "number_out_of_range", "nul". ``harmless``: whether it is known to hold neither NUL nor
    a number that is too large. What is no JSON is let pass: others name it.
    """
    if _within(raw, harmless):
        return
    try:
        value = _DECODER.decode(raw)
    except RecursionError:
        raise BadRecord("too_deep", f"more than {MAX_DEPTH} levels") from None
    except msgspec.ValidationError:  # a whole number of more than 4,300 digits
        raise BadRecord("number_out_of_range", "$") from None
    except (msgspec.DecodeError, ValueError):
        return
    if isinstance(value, dict):
        value = {name: member for name, member in value.items() if name not in TOP_LEVEL}
    _Walk().visit(value, "$", 1)


def _within(raw: bytes, harmless: bool) -> bool:
    """Whether a count of bytes shows that the limits are kept: 1 µs a KB."""
    return (
        raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH
        and (len(raw) < 5 * MAX_KEYS or raw.count(b":") <= MAX_KEYS)
        and len(raw) <= MAX_STRING
        and (harmless or (b"\\u0000" not in raw and not _large(raw)))
    )


def _large(raw: bytes) -> bool:
    """Whether a number may be too large: of as many digits as the largest, or with an exponent of three."""
    flat = raw.translate(_ZEROS)
    return _LONG in flat or _HUGE.search(flat) is not None


class _Walk:
    def __init__(self) -> None:
        self.keys = 0

    def visit(self, value: Any, place: str, depth: int) -> None:
        if isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise BadRecord("too_deep", f"{place}: more than {MAX_DEPTH} levels")
            if isinstance(value, list):
                for i, item in enumerate(value):
                    self.visit(item, f"{place}[{i}]", depth + 1)
                return
            self.keys += len(value)
            if self.keys > MAX_KEYS:
                raise BadRecord("too_many_keys", f"{place}: more than {MAX_KEYS} in the call")
            for name, item in value.items():
                spoken = f"{place}.{name if _SPEAKABLE.fullmatch(name) else '*'}"
                _text(name, spoken)
                self.visit(item, spoken, depth + 1)
        elif isinstance(value, str):
            _text(value, place)
        elif isinstance(value, int | float) and not _fits(value):
            raise BadRecord("number_out_of_range", place)


def _text(text: str, place: str) -> None:
    if len(text) > MAX_STRING:
        raise BadRecord("string_too_long", f"{place}: more than {MAX_STRING} characters")
    if "\0" in text:
        raise BadRecord("nul", place)


def _fits(number: float) -> bool:
    return abs(number) <= LARGEST if isinstance(number, int) else math.isfinite(number)
