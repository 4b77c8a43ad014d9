"""What the gate decides on each record, from its headers and the states of its identifiers."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from services.consent.flow.gate import GPC, LINK, Gate, Judged
from services.consent.flow.truncation import TICK
from services.kernel import codec, headers
from services.kernel.events import ConsentState, Event, Grant
from services.kernel.permission import FOREVER, Judge, Stamp, project
from tests.support.clock import ManualClock
from tests.support.policy import InForce, policy

UNKNOWN, DENIED, GRANTED, PARTLY, ERASED = (bytes([number]) * 16 for number in range(5))
CUT = 1_700_000_000_000_000
STATES = {
    DENIED: ConsentState(1, ["*"], [], False, 0),
    GRANTED: ConsentState(1, [], [Grant("*", FOREVER)], False, 0),
    PARTLY: ConsentState(1, ["marketing"], [], False, 0),
    ERASED: ConsentState(2, [], [Grant("*", FOREVER)], False, 0, CUT),
}
VIEW = {key: project(codec.encode(state)) for key, state in STATES.items()}
EVENT = codec.encode(
    Event("m-1", "web", "track", "Viewed", "u", "a", None, None, 1, False, 1, 0, b'{"properties":{}}')
)
ALL = b"analytics,marketing,personalization"


@pytest.fixture(scope="module")
def gate() -> Gate:
    """Only its judging is used here, which touches neither view nor Kafka."""
    nothing = cast(Any, None)
    judge = Judge(InForce(policy()))
    return Gate(nothing, judge, nothing, nothing, nothing, nothing, ManualClock())


def record(
    ids: Sequence[bytes],
    changed: Mapping[str, bytes | None] = {},  # noqa: B006 - never changed
    *,
    stamp: Stamp | None = None,
    value: bytes | None = EVENT,
) -> Any:
    """A record as ingest writes it; ``changed`` headers are replaced, or left out where None."""
    found: dict[str, bytes | None] = {
        headers.IDENTIFIERS: b"".join(ids),
        headers.SOURCE: b"web",
        headers.STARTED: b"1700000000000000",
        headers.STAMP: stamp.to_header() if stamp else None,
        **changed,
    }
    present = tuple((name, data) for name, data in found.items() if data is not None)
    return consumed(ids[0], value, present)


def consumed(key: bytes | None, value: bytes | None, present: Sequence[tuple[str, bytes]]) -> Any:
    return ConsumerRecord("events.collected", 3, 7, 0, 0, key, value, None, 0, 0, tuple(present))


def judged(gate: Gate, *records: Any) -> Judged:
    return gate.judge({TopicPartition("events.collected", 3): list(records)}, VIEW.get)


def outcome(found: Judged) -> str:
    """Of a single record."""
    permitted = sum(len(messages) for messages, _ in found.permitted.values())
    kinds = ["ok"] * permitted + ["drop"] * found.dropped.total() + ["dead"] * len(found.dead)
    assert len(kinds) == 1
    return kinds[0]


@pytest.mark.parametrize(
    ("ids", "allowed"),
    [
        ([UNKNOWN], ALL),
        ([UNKNOWN, GRANTED], ALL),
        ([PARTLY, UNKNOWN], b"analytics,personalization"),
        ([GRANTED, PARTLY], b"analytics,personalization"),
    ],
)
def test_a_permitted_record_goes_on_as_it_was_with_its_purposes(
    gate: Gate, ids: list[bytes], allowed: bytes
) -> None:
    came = record(ids)
    found = judged(gate, came)
    assert found.permitted == {
        3: ([(came.key, came.value, [*came.headers, (headers.PURPOSES, allowed)])], len(came.value))
    }
    assert not found.dropped and not found.dead


@pytest.mark.parametrize("ids", [[DENIED], [DENIED, UNKNOWN], [GRANTED, DENIED], [UNKNOWN, PARTLY, DENIED]])
def test_one_denied_identifier_drops_the_event(gate: Gate, ids: list[bytes]) -> None:
    found = judged(gate, record(ids))
    assert found.dropped == {(("analytics", "marketing", "personalization"), b"web"): 1}
    assert not found.permitted and not found.dead


@pytest.mark.parametrize("ids", [[ERASED], [GRANTED, ERASED]])
def test_what_began_before_an_erasure_is_dropped_though_it_is_granted_since(
    gate: Gate, ids: list[bytes]
) -> None:
    before = record(ids, {headers.STARTED: b"%d" % (CUT - 1), headers.ORIGIN: b"deadletters:0:1"})
    found = judged(gate, before, record(ids, {headers.STARTED: b"%d" % CUT}))
    assert found.dropped == {(("erasure",), b"web"): 1}
    assert not found.signals
    [(messages, _)] = found.permitted.values()
    assert len(messages) == 1


def test_a_stamp_limits_its_own_event_only(gate: Gate) -> None:
    refusing, plain = record([UNKNOWN], stamp=Stamp(allowed=())), record([UNKNOWN])
    found = judged(gate, refusing, plain)
    assert found.dropped.total() == 1
    [(messages, _)] = found.permitted.values()
    assert [message[2][-1] for message in messages] == [(headers.PURPOSES, ALL)]


def test_a_stamp_grants_nothing(gate: Gate) -> None:
    assert outcome(judged(gate, record([DENIED], stamp=Stamp(allowed=("analytics",))))) == "drop"


@pytest.mark.parametrize(
    ("ids", "stamp", "kinds"),
    [
        ([DENIED, UNKNOWN], None, [LINK]),
        ([UNKNOWN, DENIED], None, [LINK]),
        ([DENIED], None, []),
        ([PARTLY, UNKNOWN], None, []),  # it goes on: profile sees the link and sends it
        ([UNKNOWN], Stamp(gpc=True), [GPC]),
        ([DENIED, UNKNOWN], Stamp(gpc=True), [LINK, GPC]),
        ([UNKNOWN], Stamp(allowed=()), []),
    ],
)
def test_what_consent_must_know_is_signalled(
    gate: Gate, ids: list[bytes], stamp: Stamp | None, kinds: list[str]
) -> None:
    came = record(ids, stamp=stamp)
    assert judged(gate, came).signals == [(kind, came) for kind in kinds]


def test_a_batch_signals_the_same_thing_once(gate: Gate) -> None:
    found = judged(gate, *[record([DENIED, UNKNOWN], value=EVENT) for _ in range(5)])
    assert len(found.signals) == 1 and found.dropped.total() == 5


@pytest.mark.parametrize(
    "changed",
    [
        {headers.IDENTIFIERS: None},
        {headers.IDENTIFIERS: b""},
        {headers.IDENTIFIERS: UNKNOWN + b"short"},
        {headers.IDENTIFIERS: GRANTED},  # not the key's
        {headers.SOURCE: None},
        {headers.SOURCE: b""},
        {headers.STARTED: None},
        {headers.STARTED: b""},
        {headers.STARTED: b"-5"},
        {headers.STARTED: b"soon"},
        {headers.STARTED: b"9" * 5000},
        {headers.STAMP: b"nonsense"},
    ],
)
def test_broken_headers_make_a_dead_letter(gate: Gate, changed: dict[str, bytes | None]) -> None:
    found = judged(gate, record([UNKNOWN], changed))
    assert outcome(found) == "dead"
    assert found.dead[0][1].reason == "bad_header"


@pytest.mark.parametrize("name", [headers.IDENTIFIERS, headers.SOURCE, headers.STARTED])
def test_a_header_without_a_value_makes_a_dead_letter(gate: Gate, name: str) -> None:
    """Kafka knows headers that are null."""
    came = record([UNKNOWN])
    nulled = [(key, None if key == name else data) for key, data in came.headers]
    assert outcome(judged(gate, consumed(came.key, came.value, cast(Any, nulled)))) == "dead"


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00", b"{}", b"\x00\x00\x00\x00\x63body"])
def test_a_broken_value_is_dead_where_it_would_go_on_and_dropped_where_not(
    gate: Gate, value: bytes | None
) -> None:
    assert outcome(judged(gate, record([UNKNOWN], value=value))) == "dead"
    assert outcome(judged(gate, record([DENIED], value=value))) == "drop"


def test_the_last_header_of_a_name_counts(gate: Gate) -> None:
    """As everywhere: a replayed record may bear older purposes."""
    came = record([PARTLY], {headers.PURPOSES: ALL})
    [(messages, _)] = judged(gate, came).permitted.values()
    assert headers.value(messages[0][2], headers.PURPOSES) == b"analytics,personalization"


def test_what_the_gate_remembers_of_places_and_names_is_bounded(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Senders choose both."""
    monkeypatch.setattr("services.consent.flow.gate._CACHED", 10)
    gate._rulings.clear()
    for number in range(50):
        name = b"%d" % number
        found = judged(gate, record([UNKNOWN], {headers.PLACE: name, headers.EVENT: name}))
        assert outcome(found) == "ok"
    assert len(gate._bases) <= 10 and len(gate._rulings) == 1


def test_a_tick_is_passed_over(gate: Gate) -> None:
    found = judged(gate, consumed(TICK.key, TICK.value, TICK.headers))
    assert not found.permitted and not found.dropped and not found.dead


@given(
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=20),
    present=st.lists(
        st.tuples(
            st.sampled_from([headers.IDENTIFIERS, headers.SOURCE, headers.STARTED, headers.STAMP, "other"]),
            st.none() | st.binary(max_size=40) | st.just(b"9" * 5000),
        )
    ),
)
def test_any_record_ends_in_one_outcome(
    gate: Gate, key: bytes | None, value: bytes | None, present: list[tuple[str, bytes]]
) -> None:
    came = consumed(key, value, present)
    found = judged(gate, came)
    if (key, value, present) != (None, None, []):
        outcome(found)
