"""Which dead letters are chosen, which can be replayed, and as what."""

from __future__ import annotations

from typing import Any

import pytest

from services.kernel import headers
from services.kernel.deadletter import MAX_PAYLOAD, Letter
from services.kernel.events import DeadLetter
from services.kernel.identifier import Hasher
from services.kernel.outcome import BadRecord
from services.replay import Choice, Kept, message
from tests.support.cleaner import CLEANER
from tests.support.policy import policy

HASH = Hasher(b"k" * 32)
POLICY = policy()
NAMED = [(headers.IDENTIFIERS, b"i" * 16), (headers.SOURCE, b"web"), (headers.STARTED, b"5")]


def kept(named: Any = NAMED, partition: int = 1, offset: int = 3, **fields: Any) -> Kept:
    members: dict[str, Any] = {
        "reason": "not_avro",
        "step": "gate",
        "detail": "value",
        "topic": "events.collected",
        "partition": 4,
        "offset": 17,
        "source": "web",
        "dead_at": 1_000,
        "payload": b"bytes",
    } | fields
    return Kept(partition, offset, Letter(b"i" * 16, DeadLetter(**members), named))


def test_a_letter_of_the_gate_is_the_record_that_it_was() -> None:
    record = message(kept(), HASH, CLEANER, POLICY)
    assert (record.key, record.value) == (b"i" * 16, b"bytes")
    assert list(record.headers) == [*NAMED, (headers.ORIGIN, b"events.collected:4:17")]


def test_what_the_gate_added_to_a_letter_of_profile_is_left_out() -> None:
    named = [*NAMED, (headers.PURPOSES, b"analytics")]
    record = message(kept(named, step="profile", topic="t.events.permitted"), HASH, CLEANER, POLICY)
    assert list(record.headers) == [*NAMED, (headers.ORIGIN, b"t.events.permitted:4:17")]


def test_an_origin_stays_the_first() -> None:
    record = message(kept([*NAMED, (headers.ORIGIN, b"deadletters:0:0")]), HASH, CLEANER, POLICY)
    assert [data for name, data in record.headers if name == headers.ORIGIN] == [b"deadletters:0:0"]


def test_a_letter_of_ingest_names_its_own_place() -> None:
    call = b'{"type": "track", "event": "Bought", "userId": "u"}'
    record = message(kept(step="ingest", topic=None, payload=call), HASH, CLEANER, POLICY)
    assert headers.value(record.headers, headers.ORIGIN) == b"deadletters:1:3"


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        (kept(step="segment", topic="profiles.state"), "not_an_event: a letter of segment"),
        (kept(step="profile", topic="consent.state"), "not_an_event"),
        (kept([]), "no_headers"),
        (kept([], step="ingest"), "no_headers"),
        (kept(payload=b"x" * MAX_PAYLOAD), "not_kept"),
    ],
)
def test_what_can_not_be_replayed_is_refused_by_name(letter: Kept, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        message(letter, HASH, CLEANER, POLICY)


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), True),
        (Choice(reason="not_avro", source="web", step="gate", since=1_000, until=1_001, place="1:3"), True),
        (Choice(reason="bad_header"), False),
        (Choice(source="shop"), False),
        (Choice(step="profile"), False),
        (Choice(since=1_001), False),
        (Choice(until=1_000), False),
        (Choice(place="1:4"), False),
    ],
)
def test_every_filter_counts(choice: Choice, taken: bool) -> None:
    assert choice.takes(kept()) is taken
    assert choice.is_open is (choice == Choice())
