"""From calls to events: validation, ids, merging, addresses, consent stamp, cards in awkward places."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.ingest.domain import calls
from services.ingest.domain.collecting import Collected, Collector
from services.ingest.domain.payload import MAX_KEPT, Sender, kept
from services.ingest.domain.times import DAY
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher
from services.kernel.outcome import BadRecord
from services.kernel.permission import MAX_STAMP, Stamp
from tests.support.cleaner import CLEANER

RECEIVED = 20_415 * DAY + 55_000_000
HASH = Hasher(b"k" * 32)
SERVER = Sender("shop", None, None)
BROWSER = Sender("web", "203.0.113.77", "Firefox/140")
CARD = "4111111111111111"


def collect(
    call: Any, *, type_: str | None = None, sender: Sender = SERVER, index: int = 0, **shared: Any
) -> Collected:
    """The event of one call, alone in its request or, with ``type_`` None, in a batch."""
    body = json.dumps(call if type_ else {"batch": [call], **shared}).encode()
    request = calls.read_request(body, type_)
    harmless = CLEANER.harmless(body)
    collector = Collector(request, sender, RECEIVED, "request", HASH, CLEANER, harmless=harmless)
    raw = request.calls[0]
    return collector.collect(raw, index, suspicious=not harmless and CLEANER.suspicious(raw))


def refused(call: Any, **options: Any) -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        collect(call, **options)
    return caught.value


def payload(collected: Collected) -> Any:
    return msgspec.json.decode(collected.event.payload)


def track(**members: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Viewed", "userId": "u1", "messageId": "m1"} | members


def test_a_track_becomes_an_event() -> None:
    collected = collect(
        track(
            anonymousId="a1",
            properties={"total": 12.50, "n": {"ä": [1, None]}},
            context={"library": {"name": "x"}},
            timestamp="2025-11-23T00:00:00Z",
            unknown=1,
        )
    )
    event = collected.event
    assert (event.type, event.name, event.user_id, event.anonymous_id) == ("track", "Viewed", "u1", "a1")
    assert (event.message_id, event.source) == ("m1", "shop")
    assert (event.received_at, event.received_day) == (RECEIVED, 20_415)
    assert event.timestamp == 1_763_856_000_000_000 and not event.timestamp_bounded
    assert payload(collected) == {
        "properties": {"total": 12.50, "n": {"ä": [1, None]}},
        "context": {"library": {"name": "x"}},
    }
    assert collected.identifiers == [HASH(USER_ID, "u1"), HASH(ANONYMOUS_ID, "a1")]
    assert collected.stamp is None


def test_without_a_user_id_the_anonymous_id_routes() -> None:
    collected = collect(track(userId=None, anonymousId="a1"))
    assert collected.identifiers == [HASH(ANONYMOUS_ID, "a1")]


def test_an_aliass_previous_id_stands_for_both_kinds() -> None:
    collected = collect({"type": "alias", "userId": "u1", "previousId": "old"})
    assert collected.event.previous_id == "old"
    assert collected.identifiers == [HASH(USER_ID, "u1"), HASH(USER_ID, "old"), HASH(ANONYMOUS_ID, "old")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(42, "42"), (42.0, "42"), (4.5, "4.5"), (2**70, str(2**70)), (" u1 ", "u1"), ("u\u0308", "ü")],
)
def test_ids_may_be_numbers_and_are_normalised(value: Any, text: str) -> None:
    collected = collect(track(userId=value))
    assert collected.event.user_id == text
    assert collected.identifiers == [HASH(USER_ID, text)]


def test_a_missing_message_id_is_made_and_differs_within_a_request() -> None:
    made = [collect(track(messageId=None), index=index).event.message_id for index in (0, 1)]
    assert made == ["request-0", "request-1"]


@pytest.mark.parametrize(
    ("call", "reason", "place"),
    [
        (track(type="trak"), "unknown_type", "type"),
        ({"userId": "u1"}, "unknown_type", "type"),
        (track(userId=None), "missing_id", "userId"),
        (track(userId="  "), "missing_id", "userId"),
        (track(event=""), "missing_field", "event"),
        ({"type": "group", "userId": "u1"}, "missing_field", "groupId"),
        ({"type": "alias", "userId": "u1"}, "missing_field", "previousId"),
        ({"type": "alias", "anonymousId": "a1", "previousId": "x"}, "missing_field", "userId"),
        (track(userId=True), "bad_field", "userId"),
        (track(userId={"secret": 1}), "bad_field", "userId"),
        (track(userId="a\0b"), "bad_field", "userId"),
        (track(userId="x" * 1001), "bad_field", "userId"),
        (track(messageId="x" * 101), "bad_field", "messageId"),
        (track(properties=[1]), "bad_field", "properties"),
        (track(context="secret"), "bad_field", "context"),
        (track(context={"consent": {"categoryPreferences": {"ads": "secret"}}}), "bad_consent", "consent"),
        (track(event="Segment Consent Preference Updated"), "bad_consent", "consent"),
        ("secret", "bad_field", ""),
        (track(properties={"x": "y" * 33_000}), "too_large", ""),
    ],
)
def test_bad_calls_are_refused_with_reason_and_place_but_no_value(call: Any, reason: str, place: str) -> None:
    error = refused(call)
    assert error.reason == reason
    assert place in error.detail and "secret" not in error.detail


def test_the_path_says_the_type_of_a_single_call() -> None:
    collected = collect({"type": "ignored", "userId": 1, "traits": {"a": 1}}, type_="identify")
    assert collected.event.type == "identify" and payload(collected) == {"traits": {"a": 1}}


@pytest.mark.parametrize("type_", ["page", "screen"])
def test_name_and_category_of_pages_are_kept(type_: str) -> None:
    collected = collect(
        {"type": type_, "userId": "u", "name": "Home", "category": "Start", "properties": {"a": 1}}
    )
    assert collected.event.name == "Home"
    assert payload(collected)["properties"] == {"category": "Start", "a": 1}


def test_context_and_integrations_of_a_batch_go_into_its_calls_whose_own_come_first() -> None:
    collected = collect(
        track(context={"b": 2}, integrations={"x": True}),
        context={"a": 1, "b": 1},
        integrations={"All": False, "x": False},
    )
    assert payload(collected) == {"context": {"a": 1, "b": 2}, "integrations": {"All": False, "x": True}}


def test_a_batchs_sent_at_corrects_the_clock() -> None:
    collected = collect(track(timestamp="2040-01-01T00:00:00Z"), sentAt="2040-01-01T00:00:10Z")
    assert (collected.event.timestamp, collected.event.timestamp_bounded) == (RECEIVED - 10_000_000, False)


def test_rudderstacks_time_of_a_call_is_corrected_and_a_time_that_the_app_gave_stands() -> None:
    called: dict[str, Any] = {"originalTimestamp": "2040-01-01T00:00:00Z", "sentAt": "2040-01-01T00:00:10Z"}
    assert collect(track(**called)).event.timestamp == RECEIVED - 10_000_000
    given = collect(track(**called, timestamp="2020-01-01T00:00:00Z")).event
    assert (given.timestamp, given.timestamp_bounded) == (1_577_836_800_000_000, False)


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("fe80::1%eth0", "fe80::"),
        ("203.0.113.77:51234", "203.0.113.0"),
        ("[2001:db8:1:2::4]:443", "2001:db8:1::"),
        ("[2001:db8:1:2::4]", "2001:db8:1::"),
        ("203.0.113.77, 10.0.0.1, 192.0.2.1:80", "203.0.113.0"),
        (" ::FFFF:cb00:714d , 10.0.0.1", "203.0.113.0"),
        ("2002:cb00:714d::1", "203.0.113.0"),
        ("64:ff9b::203.0.113.77", "64:ff9b::"),
        ("unknown, 203.0.113.77", None),
        ("203.0.113.77.5", None),
        ("unknown", None),
        (5, None),
    ],
)
def test_addresses_are_cut(address: Any, stored: str | None) -> None:
    collected = collect(track(context={"ip": address, "locale": "de"}))
    assert payload(collected)["context"] == {"ip": stored, "locale": "de"}


def test_of_apps_in_peoples_hands_address_and_user_agent_are_recorded_where_the_event_has_none() -> None:
    assert payload(collect(track(), sender=BROWSER))["context"] == {
        "ip": "203.0.113.0",
        "userAgent": "Firefox/140",
    }
    own = {"ip": "198.51.100.9", "userAgent": "mine"}
    assert payload(collect(track(context=own), sender=BROWSER))["context"] == own | {"ip": "198.51.100.0"}


def test_the_consent_stamp_lists_what_is_allowed() -> None:
    consent = {"categoryPreferences": {"marketing": True, "analytics": True, "ads": False}}
    collected = collect(track(context={"consent": consent}))
    assert collected.stamp == Stamp(allowed=("analytics", "marketing"))
    assert payload(collected)["context"]["consent"] == consent


@pytest.mark.parametrize(
    ("context", "stamp"),
    [
        ({"allowedConsentIds": ["analytics"], "deniedConsentIds": ["ads"]}, Stamp(("analytics",), ("ads",))),
        (
            {"allowedConsentIds": [], "deniedConsentIds": ["marketing", "ads"]},
            Stamp(None, ("ads", "marketing")),
        ),
        ({"allowedConsentIds": {"C1": "Functional"}}, Stamp(("C1",))),
        ({"allowedConsentIds": [], "deniedConsentIds": [], "provider": "custom"}, None),
    ],
    ids=["both", "all denied", "named", "not answered"],
)
def test_what_rudderstacks_consent_management_says_limits_the_event(
    context: dict[str, Any], stamp: Stamp | None
) -> None:
    assert collect(track(context={"consentManagement": context})).stamp == stamp


def test_what_both_ways_say_of_consent_limits_together() -> None:
    both = {
        "consent": {"categoryPreferences": {"analytics": True, "marketing": True}},
        "consentManagement": {"allowedConsentIds": ["marketing", "ads"], "deniedConsentIds": ["ads"]},
    }
    assert collect(track(context=both)).stamp == Stamp(("marketing",), ("ads",))
    error = refused(track(context={"consentManagement": {"deniedConsentIds": [1]}}))
    assert error.reason == "bad_consent" and "context.consentManagement" in error.detail


def test_a_stamp_that_the_gate_would_not_take_is_refused_with_its_place() -> None:
    def preferences(size: int) -> Any:
        return track(context={"consent": {"categoryPreferences": {"x" * size: True}}})

    error = refused(preferences(MAX_STAMP))
    assert error.reason == "bad_consent" and "$.context.consent" in error.detail
    largest = collect(preferences(MAX_STAMP - len('{"allowed":[""],"gpc":true}'))).stamp
    assert largest is not None and len(replace(largest, gpc=True).to_header()) == MAX_STAMP


def test_an_address_that_is_longer_than_any_is_none() -> None:
    listed = "203.0.113.77" + ", 10.0.0.1" * 1_000
    assert payload(collect(track(context={"ip": listed})))["context"] == {"ip": "203.0.113.0"}
    assert payload(collect(track(context={"ip": "fe80::1%" + "e" * 16_000})))["context"] == {"ip": None}


def test_cards_are_masked_wherever_they_stand() -> None:
    collected = collect(
        track(
            event=f"Paid {CARD}",
            properties={"note": CARD, "cvv": "737"},
            context={"page": {"url": f"?n={CARD}"}},
        ),
        context={"shared": CARD},
    )
    assert CARD not in str(collected.event)
    assert collected.event.name == "Paid [card visa 1111]"
    assert payload(collected)["properties"] == {"note": "[card visa 1111]"}
    assert payload(collected)["context"]["shared"] == "[card visa 1111]"
    assert sorted(collected.masked) == ["key", "number", "number", "number"]


@pytest.mark.parametrize("field", ["userId", "anonymousId", "previousId", "groupId"])
def test_an_identifier_that_is_a_card_number_refuses_the_event(field: str) -> None:
    call = {
        "type": "group" if field == "groupId" else "alias",
        "userId": "u",
        "previousId": "p",
        "groupId": "g",
    }
    error = refused(call | {field: CARD})
    assert error.reason == "card_as_identifier" and field in error.detail and CARD not in error.detail


def test_a_message_id_with_a_card_number_becomes_another_that_is_the_same_on_repeats() -> None:
    first, second, other = (
        collect(track(messageId=message_id)).event.message_id
        for message_id in (CARD, CARD, "4000000000061111")
    )
    assert first == second != other
    assert CARD not in first and len(first) <= 100


def test_a_user_agent_with_a_card_number_is_masked() -> None:
    collected = collect(track(), sender=Sender("web", None, f"Bot {CARD}"))
    assert payload(collected)["context"] == {"userAgent": "Bot [card visa 1111]"}


def test_what_is_kept_of_a_bad_call_has_neither_card_nor_address() -> None:
    call = track(type="bad", properties={"n": CARD}, context={"ip": "203.0.113.77"})
    cleaned, masked = kept(json.dumps(call).encode(), CLEANER, suspicious=True)
    assert masked == ["number"]
    assert CARD.encode() not in cleaned and b"203.0.113.77" not in cleaned
    assert msgspec.json.decode(cleaned)["userId"] == "u1"


def test_what_is_masked_may_become_longer_than_an_event() -> None:
    number = "501800000009"
    note = " ".join([number] * 1_200)
    collected = collect(track(properties={"a": note, "b": note}))
    assert len(collected.event.payload) > calls.MAX_EVENT
    assert number not in str(collected.event)


@pytest.mark.parametrize("shape", ["[%s]", '{"a":[%s]}'])
def test_of_a_bad_call_that_cleaning_makes_too_long_nothing_is_kept(shape: str) -> None:
    raw = (shape % ",".join(["501800000009"] * 19_000)).encode()
    assert len(raw) < MAX_KEPT
    assert kept(raw, CLEANER, suspicious=True)[0] == b""


@pytest.mark.parametrize("agent", ["a=" * 500, "[" * 500 + "]" * 500, "a=%3D" * 200, "%25" * 330 + "=x"])
def test_hostile_user_agents_are_no_matter(agent: str) -> None:
    stored = payload(collect(track(), sender=Sender("web", None, agent)))["context"]["userAgent"]
    assert stored == agent


@pytest.mark.parametrize("raw", [b"5", b'"x"', b'{"context":5}', b'{"context":null}'])
def test_bad_calls_of_any_shape_are_kept(raw: bytes) -> None:
    assert kept(raw, CLEANER, suspicious=False) == (raw, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    "type",
    "userId",
    "anonymousId",
    "event",
    "messageId",
    "timestamp",
    "properties",
    "context",
    "traits",
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.sampled_from(["track", "page"])))
def test_any_json_is_an_event_or_a_named_refusal(call: dict[str, Any]) -> None:
    try:
        event = collect(call).event
    except BadRecord as error:
        assert error.reason.isidentifier()
    else:
        assert event.user_id or event.anonymous_id
        assert isinstance(msgspec.json.decode(event.payload), dict)


def test_rudderstacks_traits_of_an_identify_are_its_traits() -> None:
    """Its SDKs put them into the context; those of a track are no news."""
    context = {"traits": {"age": 41}}
    told = {"type": "identify", "userId": "u1", "context": context}
    assert payload(collect(told)) == {"traits": {"age": 41}, "context": context}
    assert payload(collect(told | {"traits": {"age": 5}}))["traits"] == {"age": 5}
    assert payload(collect(told, type_="identify"))["traits"] == {"age": 41}
    assert "traits" not in payload(collect(track(context=context)))
    assert "traits" not in payload(collect(told | {"context": {"traits": [1]}}))


def test_secrets_and_queries_go_from_every_part_of_an_event_and_are_counted() -> None:
    collected = collect(
        track(
            event="Signed in",
            properties={"form": [{"new_password": "hunter2", "newsletter": True}]},
            traits={"apiKey": "hunter2", "plan": "gold"},
            context={"page": {"url": "https://x.example/?email=hunter2%40x.example&utm_source=mail"}},
            integrations={"Tool": {"token": "hunter2"}},
        ),
        context={"page": {"search": "?token=hunter2"}, "auth_token": "hunter2"},
    )
    assert "hunter2" not in str(collected.event)
    assert payload(collected)["traits"] == {"plan": "gold"}
    assert payload(collected)["context"]["page"]["url"] == "https://x.example/?email=***&utm_source=mail"
    assert sorted(collected.masked) == ["query", "secret", "secret", "secret"]


def test_what_is_kept_of_a_bad_call_has_no_secrets() -> None:
    call = track(type="bad", properties={"password": "hunter2", "url": "/?token=hunter2"}, secret="hunter2")
    raw = json.dumps(call).encode()
    assert CLEANER.suspicious(raw)
    cleaned, masked = kept(raw, CLEANER, suspicious=True)
    assert masked == ["secret", "query", "secret"] and b"hunter2" not in cleaned
