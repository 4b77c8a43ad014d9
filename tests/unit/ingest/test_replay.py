"""Bad calls kept so that they can be collected again: what their request said of them goes along."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from services.ingest.domain import calls
from services.ingest.domain.collecting import Collector
from services.ingest.domain.payload import Sender, id_masked, kept
from services.ingest.domain.times import DAY, microseconds
from services.ingest.replay import recollected
from services.kernel import codec, headers
from services.kernel.deadletter import Letter
from services.kernel.events import DeadLetter, Event
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher
from services.kernel.message import Message
from services.kernel.outcome import BadRecord
from services.kernel.permission import Stamp
from tests.support.cleaner import CLEANER
from tests.support.policy import policy

NOW = 20_415 * DAY + 55_000_000
HASH = Hasher(b"k" * 32)
POLICY = policy()
WEB = Sender("web", "203.0.113.77", "Firefox/140")
CARD = "4111111111111111"
GPC = (headers.STAMP, Stamp(gpc=True).to_header())


def completed(call: Any, *, type_: str | None = None, **shared: Any) -> Any:
    """What a dead letter keeps of that call of a batch, or of a single call of that type."""
    body = json.dumps(call if type_ else {"batch": [call], **shared}).encode()
    request = calls.read_request(body, type_)
    harmless = CLEANER.harmless(body)
    collector = Collector(request, WEB, NOW, "request", HASH, CLEANER, harmless=harmless)
    raw = request.calls[0]
    payload, _ = kept(raw, CLEANER, suspicious=not harmless and CLEANER.suspicious(raw))
    return msgspec.json.decode(collector.completed(payload))


def letter(payload: Any, *named: tuple[str, bytes]) -> Letter:
    value = DeadLetter(
        "missing_field", "ingest", "$.event", None, None, None, "web", NOW, json.dumps(payload).encode()
    )
    return Letter(b"k" * 16, value, [(headers.SOURCE, b"web"), (headers.STARTED, b"1"), *named])


def event(message: Message) -> Event:
    return codec.decode(Event, message.value)


def test_the_type_of_the_path_is_kept_and_the_write_key_is_not() -> None:
    call = completed({"userId": "u", "writeKey": "candor_secret"}, type_="track")
    assert call["type"] == "track"
    assert "candor_secret" not in json.dumps(call)


def test_what_the_request_says_for_all_its_calls_is_kept() -> None:
    consent = {"categoryPreferences": {"marketing": False}}
    call = completed(
        {"type": "track", "userId": "u", "context": {"page": {"path": "/"}}},
        context={"consent": consent, "page": {"path": "/other"}},
        integrations={"All": True},
        sentAt="2025-11-23T00:00:10Z",
    )
    assert call["context"] == {
        "consent": consent,
        "page": {"path": "/"},
        "ip": "203.0.113.0",
        "userAgent": "Firefox/140",
    }
    assert call["integrations"] == {"All": True}
    assert microseconds(call["sentAt"]) == microseconds("2025-11-23T00:00:10Z")


def test_the_call_s_own_time_of_sending_comes_first() -> None:
    own = "2025-11-23T00:00:05+00:00"
    assert completed({"userId": "u", "sentAt": own}, sentAt="2025-11-23T00:00:10Z")["sentAt"] == own


def test_what_is_wrong_stays_as_it_is() -> None:
    call = completed(
        {"userId": "u", "context": 5, "integrations": []}, context={"x": 1}, integrations={"a": 1}
    )
    assert (call["context"], call["integrations"]) == (5, [])


@pytest.mark.parametrize("raw", [b"5", b"{", b""])
def test_what_is_no_object_is_kept_as_it_is(raw: bytes) -> None:
    request = calls.read_request(b'{"batch": []}', None)
    assert Collector(request, WEB, NOW, "request", HASH, CLEANER, harmless=True).completed(raw) == raw


def test_a_call_that_the_shared_context_makes_too_long_is_not_kept() -> None:
    context = {f"x{number}": "y" * 10_000 for number in range(30)}
    request = calls.read_request(json.dumps({"batch": [], "context": context}).encode(), None)
    collector = Collector(request, WEB, NOW, "request", HASH, CLEANER, harmless=True)
    assert collector.completed(b'{"userId": "u"}') == b""


def test_a_letter_becomes_the_same_event_each_time() -> None:
    call = {"type": "track", "event": "Bought", "userId": "u", "anonymousId": "a"}
    first = recollected(letter(call, GPC), "2:7", HASH, CLEANER, POLICY)
    assert first == recollected(letter(call, GPC), "2:7", HASH, CLEANER, POLICY)
    made = event(first)
    assert (made.received_at, made.received_day, made.timestamp) == (NOW, NOW // DAY, NOW)
    assert first.key == HASH(USER_ID, "u")
    assert headers.value(first.headers, headers.IDENTIFIERS) == HASH(USER_ID, "u") + HASH(ANONYMOUS_ID, "a")
    assert headers.value(first.headers, headers.STARTED) == b"%d" % NOW
    stamp = headers.value(first.headers, headers.STAMP)
    assert stamp is not None and Stamp.from_header(stamp).gpc
    assert made.message_id != event(recollected(letter(call, GPC), "2:8", HASH, CLEANER, POLICY)).message_id


def test_the_device_s_clock_is_corrected_with_the_letter_s_time() -> None:
    times = {"timestamp": "2020-01-01T00:00:00Z", "sentAt": "2020-01-01T00:00:30Z"}
    call = {"type": "track", "event": "Bought", "userId": "u", **times}
    assert event(recollected(letter(call), "0:0", HASH, CLEANER, POLICY)).timestamp == NOW - 30_000_000


def test_cards_are_masked_again() -> None:
    call = {"type": "track", "event": "Bought", "userId": "u", "properties": {"note": CARD}}
    assert CARD.encode() not in (recollected(letter(call), "0:0", HASH, CLEANER, POLICY).value or b"")


@pytest.mark.parametrize(
    ("call", "named", "reason"),
    [
        ({"type": "track", "userId": "u"}, [], "missing_field"),
        (
            {"type": "track", "event": "x", "userId": "[card visa 1111]"},
            [(headers.ID_MASKED, b"1")],
            "card_as",
        ),
    ],
)
def test_what_can_not_be_collected_is_refused(call: Any, named: Any, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        recollected(letter(call, *named), "0:0", HASH, CLEANER, POLICY)


def test_nothing_is_made_of_a_call_of_which_nothing_was_kept() -> None:
    empty = letter({})
    with pytest.raises(BadRecord, match="not_kept"):
        recollected(
            empty._replace(value=msgspec.structs.replace(empty.value, payload=b"")),
            "0:0",
            HASH,
            CLEANER,
            POLICY,
        )


@pytest.mark.parametrize(
    ("call", "masked"),
    [
        ({"userId": CARD}, True),
        ({"messageId": CARD}, True),
        ({"userId": f"cvv: 737 {CARD}"}, True),
        ({"userId": "u", "properties": {"n": CARD}}, False),
    ],
)
def test_a_masked_id_is_seen(call: Any, masked: bool) -> None:
    raw = json.dumps(call).encode()
    payload, kinds = kept(raw, CLEANER, suspicious=True)
    assert kinds
    assert id_masked(raw, payload) is masked
