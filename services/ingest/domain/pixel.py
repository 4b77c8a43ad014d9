"""Calls in the address of an image: base64 JSON or dotted parameters (Segment, pixel-tracking-api)."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from services.kernel.outcome import BadRecord

MAX_PARAMETERS = 200
MAX_DEPTH = 10
"""Names in a dotted parameter."""


def call_of(query: bytes) -> bytes:
    """The call as JSON: that of ``data``, else one put together from the parameters, whose values are texts.

    A ``writeKey`` beside ``data`` counts where the call has none. Raises BadRecord("unreadable").
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise BadRecord("unreadable", "the query can't be read") from None
    parameters = dict(pairs)
    if "data" not in parameters:
        return msgspec.json.encode(_nested(parameters))
    call = _decoded(parameters["data"])
    return call if "writeKey" not in parameters else _with_key(call, parameters["writeKey"])


def _decoded(data: str) -> bytes:
    """Of either alphabet, padded or not; a plus sign that was not escaped arrives as a space."""
    text = data.replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadRecord("unreadable", "data: expected base64") from None


def _with_key(call: bytes, write_key: str) -> bytes:
    try:
        members = msgspec.json.decode(call, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRecord("unreadable", "data: expected a JSON object") from None
    members.setdefault("writeKey", msgspec.Raw(msgspec.json.encode(write_key)))
    return msgspec.json.encode(members)


def _nested(parameters: dict[str, str]) -> dict[str, Any]:
    """``properties.price=5`` as ``{"properties": {"price": "5"}}``."""
    call: dict[str, Any] = {}
    for name, value in parameters.items():
        *places, last = name.split(".")
        if len(places) >= MAX_DEPTH:
            raise BadRecord("unreadable", f"more than {MAX_DEPTH} names in a parameter")
        members = call
        for place in places:
            members = members.setdefault(place, {})
            if not isinstance(members, dict):
                raise BadRecord("unreadable", "a parameter is a value and an object at once")
        if isinstance(members.get(last), dict):
            raise BadRecord("unreadable", "a parameter is a value and an object at once")
        members[last] = value
    return call
