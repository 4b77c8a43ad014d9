"""Reading requests: shapes, limits, and what must not cost a whole batch."""

from __future__ import annotations

import json

import msgspec
import pytest

from services.ingest.domain import calls
from services.kernel.outcome import BadRecord


def refused(body: bytes, type_: str | None = None) -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        calls.read_request(body, type_)
    return caught.value


def test_a_batch_is_parted_into_its_calls() -> None:
    body = {"batch": [{"a": 1}, 5, {"b": 2}], "writeKey": "k", "sentAt": "x", "context": {"c": 3}}
    request = calls.read_request(json.dumps(body).encode(), None)
    assert [msgspec.json.decode(call) for call in request.calls] == [{"a": 1}, 5, {"b": 2}]
    assert (request.write_key, request.sent_at, bytes(request.context)) == ("k", "x", b'{"c": 3}')


def test_a_single_call_is_the_body() -> None:
    request = calls.read_request(b'{"userId":1,"writeKey":"k"}', "track")
    assert (request.calls, request.write_key, request.type) == (
        [b'{"userId":1,"writeKey":"k"}'],
        "k",
        "track",
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b"{}", b'{"batch":{}}', b'{"batch":[}', b'{"batch":[{"a":"\xff"}]}',
     b'{"batch":[1]} x', b'{"batch":["\\x"]}'],
)  # fmt: skip
def test_what_is_no_batch_is_unreadable(body: bytes) -> None:
    assert refused(body).reason == "unreadable"


def test_half_an_emoji_costs_neither_the_batch_nor_its_call() -> None:
    bodies = rb'{"a":"cut \ud83d"},{"b":"\ude00"},{"c":"\ud83d\ude00"},{"d":"\\ud83d"},{"e":"\\\ud83d"}'
    request = calls.read_request(b'{"batch":[' + bodies + b"]}", None)
    assert [msgspec.json.decode(call) for call in request.calls] == [
        {"a": "cut \ufffd"},
        {"b": "\ufffd"},
        {"c": "\U0001f600"},
        {"d": "\\ud83d"},
        {"e": "\\\ufffd"},
    ]


def test_too_many_events_are_too_large() -> None:
    assert len(calls.read_request(b'{"batch":[' + b",".join([b"1"] * 2_500) + b"]}", None).calls) == 2_500
    assert refused(b'{"batch":[' + b",".join([b"1"] * 2_501) + b"]}").reason == "too_large"


def test_a_single_call_that_is_too_large_is_refused_whole() -> None:
    assert refused(b'{"a":"' + b"x" * 33_000 + b'"}', "track").reason == "too_large"
