"""What one event may hold: a call that breaks a limit is refused by name and place, whatever else comes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain import calls
from services.ingest.domain.collecting import Collector
from services.ingest.domain.payload import Sender, kept
from services.ingest.domain.times import DAY
from services.kernel import limits
from services.kernel.identifier import Hasher
from services.kernel.outcome import BadRecord
from tests.support.cleaner import CLEANER

HASH = Hasher(b"k" * 32)


def outcomes(body: bytes, type_: str | None = None) -> list[str]:
    """What becomes of each call of a request: "ok", or reason and place."""
    request = calls.read_request(body, type_)
    harmless = CLEANER.harmless(body)
    sender = Sender("web", "203.0.113.7", "Firefox/140")
    collector = Collector(request, sender, 20_415 * DAY, "request", HASH, CLEANER, harmless=harmless)
    result = []
    for index, raw in enumerate(request.calls):
        suspicious = not harmless and CLEANER.suspicious(raw)
        try:
            collector.collect(raw, index, suspicious=suspicious)
            result.append("ok")
        except BadRecord as error:
            kept(raw, CLEANER, suspicious=suspicious)
            collector.routing_hash(raw)
            result.append(f"{error.reason} {error.detail}")
    return result


def batch(*properties: str) -> list[str]:
    call = '{"type":"track","event":"e","userId":"u","properties":%s}'
    return outcomes(b'{"batch":[%b]}' % ",".join(call % members for members in properties).encode())


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


DEEPEST = '{"a":' * 31 + "1" + "}" * 31


@pytest.mark.parametrize(
    "properties",
    [
        DEEPEST,
        json.dumps({"a": [{}] * 100}),
        json.dumps({f"k{i}": i for i in range(990)}),
        json.dumps({"a": "x" * 16_384}),
        '{"a":18446744073709551615,"b":-18446744073709551615,"c":1.7e308,"d":1e-999}',
        '{"id":"0000000000000000000000000000","u":"1e999","v":"5e0000"}',
        '{"a":"\\\\u0000"}',
        '{"a":"\\ud83d"}',
    ],
)
def test_what_is_within_the_limits_goes_on(properties: str) -> None:
    assert batch(properties) == ["ok"]


@pytest.mark.parametrize(
    ("properties", "reason", "place"),
    [
        (f'{{"x":{DEEPEST}}}', "too_deep", "$.properties.x.a.a"),
        (f'{{"x":{nested(40)}}}', "too_deep", "$.properties.x[0][0]"),
        (f'{{"x":{nested(600)}}}', "too_deep", "$.properties.x"),
        (f'{{"x":{nested(3000)}}}', "too_deep", "$.properties.x"),
        ('{"x":' + '{"a":' * 3000 + '"]}\\""' + "}" * 3001, "too_deep", "$.properties.x"),
        (json.dumps({"x": {f"k{i}": i for i in range(1001)}}), "too_many_keys", "$.properties.x"),
        (json.dumps({"x": ["y" * 16_385]}), "string_too_long", "$.properties.x[0]"),
        (json.dumps({"y" * 16_385: 1}), "string_too_long", "$.properties.*"),
        ('{"x":18446744073709551616}', "number_out_of_range", "$.properties.x"),
        ('{"x":1e999}', "number_out_of_range", "$.properties.x"),
        ('{"x":[-1E+0999]}', "number_out_of_range", "$.properties.x[0]"),
        ('{"x":' + "9" * 5000 + "}", "number_out_of_range", "$"),
        ('{"x":{"y":"a\\u0000b"}}', "nul", "$.properties.x.y"),
        ('{"a\\u0000b":1}', "nul", "$.properties.*"),
        ('{"4111111111111111":{"a@b.example":"\\u0000"}}', "nul", "$.properties.*.*"),
    ],
)
def test_one_call_that_breaks_a_limit_is_refused_with_its_place_and_the_others_go_on(
    properties: str, reason: str, place: str
) -> None:
    good, bad, also_good = batch("{}", properties, '{"b":"]}{["}')
    assert (good, also_good) == ("ok", "ok")
    assert bad.startswith(f"{reason} {place}")


@pytest.mark.parametrize("members", ['"userId":"a\\u0000b"', '"userId":"u","messageId":"\\u0000"'])
def test_nul_in_an_id_is_refused(members: str) -> None:
    [outcome] = outcomes(b'{"batch":[{"type":"track","event":"e",%b}]}' % members.encode())
    assert outcome.startswith("bad_field $.")


def test_what_all_calls_share_is_limited_too() -> None:
    for context in ('{"a":"\\u0000"}', f'{{"a":{nested(3000)}}}', '{"a":1e999}'):
        with pytest.raises(BadRecord):
            outcomes(b'{"batch":[{"type":"track","event":"e","userId":"u"}],"context":%b}' % context.encode())


def test_brackets_that_do_not_close_are_no_json() -> None:
    for body in (b'{"batch":[' + b"[" * 5000, b'{"batch":[' + b"[" * 5000 + b"]" * 5001, b"[" * 3000 + b'"'):
        with pytest.raises(BadRecord, match="unreadable"):
            calls.read_request(body, None)


def test_an_ordinary_call_is_not_decoded_for_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_DECODER", None)
    call = {"id": "550e8400-e29b-41d4-a716-446655440000", "t": 1764000000000, "s": "x" * 2000}
    limits.check(json.dumps(call).encode(), harmless=False)


NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(2**64), 1e308, 4111111111111111])
MEMBERS = [
    "batch",
    "type",
    "userId",
    "messageId",
    "event",
    "context",
    "ip",
    "consent",
    "traits",
    "categoryPreferences",
    "properties",
    "timestamp",
    "sentAt",
    "name",
    "category",
    "previousId",
    "groupId",
    "integrations",
    "originalTimestamp",
    "cvv",
    "password",
]
ANY = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.text(st.characters(categories=["Cs", "Cc", "Nd"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(MEMBERS), inner, max_size=6)
    ),
    max_leaves=20,
)
CALLS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(calls.TYPES)), "userId": st.text(min_size=1) | NUMBERS},
    optional={name: ANY for name in MEMBERS if name not in ("type", "userId")},
)


@settings(max_examples=300)
@given(
    ANY | st.builds(lambda found: {"batch": found}, st.lists(CALLS, max_size=3)), st.booleans(), st.booleans()
)
def test_no_json_whatsoever_ends_otherwise_than_well_or_as_a_bad_record(
    value: Any, ascii_only: bool, single: bool
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    with contextlib.suppress(BadRecord):
        outcomes(body, "track" if single else None)


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_end_otherwise_than_well_or_as_a_bad_record(data: bytes) -> None:
    for body in (data, b'{"batch":[%b]}' % data, b'{"batch":[{"type":"track","event":%b}]}' % data):
        with contextlib.suppress(BadRecord):
            outcomes(body)
