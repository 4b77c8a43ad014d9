"""Calls in the address of an image: what mail programs and browsers make of base64, and dotted parameters."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import pixel
from services.kernel.outcome import BadRecord

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
CALLS = st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53), max_size=5)


def call_of(query: str) -> Any:
    return msgspec.json.decode(pixel.call_of(query.encode()))


@given(CALLS, st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]), st.booleans(), st.booleans())
def test_any_writing_of_base64_gives_the_call(call: Any, encode: Any, padded: bool, escaped: bool) -> None:
    data = encode(json.dumps(call, ensure_ascii=False).encode()).decode()
    data = data if padded else data.rstrip("=")
    assert call_of(f"x=1&data={quote(data, safe='') if escaped else data}") == call


@given(TEXT, TEXT)
def test_values_arrive_as_they_were_escaped(name: str, value: str) -> None:
    call = {"userId": name, "properties.a.b": value, "context.x": "1"}
    said = call_of(urlencode({key: text for key, text in call.items() if text}))
    assert said.get("userId", "") == name
    assert said.get("properties", {"a": {"b": ""}}) == {"a": {"b": value}}


def test_a_key_beside_data_counts_where_the_call_has_none() -> None:
    own = quote(base64.b64encode(b'{"writeKey":"own"}'))
    assert call_of(f"data={own}&writeKey=other") == {"writeKey": "own"}
    assert call_of(f"writeKey=other&data={quote(base64.b64encode(b'{}'))}") == {"writeKey": "other"}


@pytest.mark.parametrize(
    "query",
    [
        "data=%",
        "data=abcde",
        f"data={quote(base64.b64encode(b'[1]'))}&writeKey=k",
        f"data={quote(base64.b64encode(bytes([0xFF])))}&writeKey=k",
        "a=1&a.b=1",
        "a.b=1&a=1",
        "a=%ff",
        "\xe4=1",
        ".".join("a" * 11) + "=1",
        "&".join(f"a{number}=1" for number in range(201)),
    ],
)
def test_what_is_no_call_is_unreadable(query: str) -> None:
    with pytest.raises(BadRecord) as caught:
        pixel.call_of(query.encode("latin-1"))
    assert caught.value.reason == "unreadable"
