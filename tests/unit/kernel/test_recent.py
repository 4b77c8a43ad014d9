"""The book of recent events: whatever of an event is seen first, and whatever is never seen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from services.kernel import codec, headers
from services.kernel.deadletter import PLAN_REPORTED
from services.kernel.events import DeadLetter, Event
from services.kernel.recent.book import MAX_EVENTS, MAX_SOURCES, Book
from tests.support.cleaner import CLEANER
from tests.support.clock import ManualClock
from tests.support.policy import InForce, policy

TOPICS = ("t.events.collected", "t.events.permitted")
PURPOSES = ("analytics", "marketing")
POLICIES = InForce(policy(purposes=PURPOSES))


def record(
    offset: int,
    message_id: str = "m",
    *,
    source: str = "web",
    name: str = "Bought",
    payload: bytes = b"{}",
    started: int = 5,
    allowed: bytes | None = None,
    partition: int = 0,
    test: bool = False,
) -> Any:
    event = Event(message_id, source, "track", name, "u", None, None, None, 1, False, 2, 0, payload)
    named = [(headers.SOURCE, source.encode()), (headers.STARTED, b"%d" % started)]
    if allowed is not None:
        named.append((headers.PURPOSES, allowed))
    if test:
        named.append((headers.TEST, b"1"))
    return SimpleNamespace(partition=partition, offset=offset, headers=named, value=codec.encode(event))


def letter(step: str, topic: str | None, offset: int | None, payload: bytes, reason: str = "bad") -> Any:
    value = DeadLetter(
        reason, step, "$.place", topic, None if topic is None else 0, offset, "web", 7, payload
    )
    return SimpleNamespace(partition=3, offset=0, headers=[], value=codec.encode(value))


@pytest.fixture
def book() -> Book:
    book = Book(TOPICS, POLICIES, ManualClock())
    book.watch("web")
    return book


def outcomes(book: Book) -> list[tuple[str | None, str]]:
    return [(event["message_id"], event["outcome"]) for event in book.recent("web")]


def test_an_event_goes_from_stage_to_stage(book: Book) -> None:
    book.collected(record(10))
    assert outcomes(book) == [("m", "accepted")]
    book.permitted(record(4, allowed=b"analytics"))
    [event] = book.recent("web")
    assert event["outcome"] == "accepted"
    assert event["stages"]["gate"]["outcome"] == "permitted"
    assert event["stages"]["gate"]["allowed"] == ["analytics"]
    book.settle({0: 11}, {0: 4})
    assert outcomes(book) == [("m", "accepted")] and book.waiting
    book.settle({0: 11}, {0: 5})
    assert outcomes(book) == [("m", "applied")] and not book.waiting


def test_what_the_gate_has_passed_without_permitting_it_is_dropped(book: Book) -> None:
    book.collected(record(10))
    book.settle({0: 10}, {})
    assert outcomes(book) == [("m", "accepted")]
    book.settle({0: 11}, {})
    assert outcomes(book) == [("m", "dropped")]
    assert book.recent("web")[0]["stages"]["gate"]["denied"] == list(PURPOSES)


def test_the_second_with_a_message_id_is_a_repeat_and_so_are_more(book: Book) -> None:
    for offset in range(3):
        book.collected(record(offset, started=offset))
        book.permitted(record(offset, started=offset, allowed=b"analytics"))
    book.settle({0: 3}, {0: 3})
    assert outcomes(book) == [("m", "repeat"), ("m", "repeat"), ("m", "applied")]


def test_what_was_dropped_before_makes_no_repeat(book: Book) -> None:
    book.collected(record(0, started=1))
    book.settle({0: 1}, {})
    book.collected(record(1, started=2))
    book.permitted(record(0, started=2, allowed=b"analytics"))
    book.settle({0: 2}, {0: 1})
    assert outcomes(book) == [("m", "applied"), ("m", "dropped")]


@pytest.mark.parametrize("is_collected_seen", [True, False])
def test_a_test_event_is_applied_to_no_profile_and_repeats_nothing(
    book: Book, is_collected_seen: bool
) -> None:
    for offset in range(3):
        if is_collected_seen:
            book.collected(record(offset, started=offset, test=offset < 2))
        book.permitted(record(offset, started=offset, allowed=b"analytics", test=offset < 2))
    book.settle({0: 3}, {0: 2})
    assert outcomes(book) == [("m", "accepted"), ("m", "test"), ("m", "test")]
    book.settle({0: 3}, {0: 3})
    assert outcomes(book)[0] == ("m", "applied") and not book.waiting


def test_a_test_event_that_was_dropped_is_dropped(book: Book) -> None:
    book.collected(record(0, test=True))
    book.settle({0: 1}, {})
    assert outcomes(book) == [("m", "dropped")]


def test_an_event_that_was_truncated_unseen_appears_where_it_was_permitted(book: Book) -> None:
    book.permitted(record(4, allowed=b"analytics"))
    book.settle({0: 11}, {0: 5})
    assert outcomes(book) == [("m", "applied")]


@pytest.mark.parametrize("order", ["ccpp", "cpcp", "cppc", "pccp", "pcpc", "ppcc"])
def test_two_copies_in_one_batch_are_two_whatever_is_seen_first(book: Book, order: str) -> None:
    collected, permitted = itertools.count(10), itertools.count(4)
    for topic in order:
        if topic == "c":
            book.collected(record(next(collected)))
        else:
            book.permitted(record(next(permitted), allowed=b"analytics"))
    book.settle({0: 12}, {0: 6})
    assert outcomes(book) == [("m", "repeat"), ("m", "applied")]


@pytest.mark.parametrize("first", ["record", "letter"])
def test_a_dead_letter_tells_why(book: Book, first: str) -> None:
    seen: list[Callable[[], None]] = [
        lambda: book.collected(record(10)),
        lambda: book.letter(letter("gate", TOPICS[0], 10, record(10).value)),
    ]
    for enter in seen if first == "record" else reversed(seen):
        enter()
    book.settle({0: 11}, {})
    [event] = book.recent("web")
    assert (event["message_id"], event["outcome"]) == ("m", "dead")
    assert (event["reason"], event["detail"]) == ("bad", "$.place")


@pytest.mark.parametrize("first", ["record", "letter"])
def test_dead_at_profile(book: Book, first: str) -> None:
    seen: list[Callable[[], None]] = [
        lambda: book.permitted(record(4, allowed=b"analytics")),
        lambda: book.letter(letter("profile", TOPICS[1], 4, record(4).value)),
    ]
    for enter in seen if first == "record" else reversed(seen):
        enter()
    book.settle({}, {0: 5})
    [event] = book.recent("web")
    assert event["outcome"] == "dead" and event["stages"]["profile"]["outcome"] == "dead"


def test_a_call_that_ingest_refused_is_shown_without_its_values(book: Book) -> None:
    payload = b'{"messageId": "x", "type": "track", "event": {"secret": 1}, "properties": {"secret": 2}}'
    book.letter(letter("ingest", None, None, payload))
    [event] = book.recent("web")
    assert (event["message_id"], event["type"], event["event"]) == ("x", "track", None)
    assert event["outcome"] == "dead" and "secret" not in str(event)
    book.letter(letter("ingest", None, None, b"no JSON"))
    assert outcomes(book)[0] == (None, "dead")


@pytest.mark.parametrize("first", ["record", "letter"])
def test_what_the_plan_reports_of_an_accepted_event_is_no_event_of_its_own(book: Book, first: str) -> None:
    steps: list[Callable[[], None]] = [
        lambda: book.collected(record(10)),
        lambda: book.letter(letter("ingest", None, None, b"", PLAN_REPORTED)),
    ]
    for step in steps if first == "record" else reversed(steps):
        step()
    assert outcomes(book) == [("m", "accepted")]


def test_letters_of_what_is_no_event_are_passed_over(book: Book) -> None:
    book.letter(letter("segment", "t.profiles.state", 3, b""))
    assert book.recent("web") == []


@pytest.mark.parametrize(
    "text",
    [
        "paid 4111 1111 1111 1111",
        "paid " + "7" * 70,
        "paid at https://shop.example/?email=ada@example.org#top",
        "paid?next=https%3A%2F%2Fshop.example%2F%3Ftoken%3Dabc",
        "paid?next=https%253A%252F%252Fshop.example%252F%253Ftoken%253Dabc",
        "paid, CVV2: 737",
        "paid, csc is 737",
        "paid, security code no. 7373",
        "paid, card_verification_value=737",
    ],
)
def test_a_mask_is_seen(book: Book, text: str) -> None:
    payload, kinds = CLEANER.clean(msgspec.json.encode({"properties": {"n": text}}))
    assert kinds
    book.collected(record(0, payload=payload))
    book.collected(record(1, name=CLEANER.text(text)[0]))
    book.letter(letter("ingest", None, None, payload))
    events = book.recent("web")
    assert [event["masked"] for event in events] == [True] * 3 and "paid" not in str(events[2])


@pytest.mark.parametrize(
    "text", ["card", "f*** off", "*** Black Friday ***", "[card]", "a == b", "rating: ***"]
)
def test_what_is_no_mask(book: Book, text: str) -> None:
    book.collected(record(0, payload=msgspec.json.encode({"properties": {"n": text}})))
    assert not book.recent("web")[0]["masked"]


def test_the_newest_of_each_source_are_remembered(book: Book) -> None:
    for offset in range(MAX_EVENTS + 5):
        book.collected(record(offset, f"m{offset}", partition=1 if offset < 5 else 0))
    newest_first = range(MAX_EVENTS + 4, 4, -1)
    assert [message_id for message_id, _ in outcomes(book)] == [f"m{n}" for n in newest_first]
    book.settle({0: MAX_EVENTS + 5}, {})
    assert not book.waiting  # for those that are forgotten


def test_the_source_that_nobody_asked_for_longest_makes_room(book: Book) -> None:
    book.watch("shop")
    for source in ("web", "shop"):
        book.collected(record(0, source=source, partition=len(source)))
    book.watch("web")
    for number in range(MAX_SOURCES - 1):
        book.watch(f"other{number}")
    assert (len(book.recent("web")), len(book.recent("shop"))) == (1, 0)
    book.watch("one more")
    assert book.recent("web") == [] and not book.waiting
    book.collected(record(2))
    assert book.recent("web") == []


def test_every_step_is_told_once_whatever_is_written_twice() -> None:
    told: list[str] = []
    book = Book(TOPICS, POLICIES, ManualClock(), lambda seen: told.append(list(seen.stages)[-1]))
    book.watch("web")
    for _ in range(2):
        book.collected(record(10))
        book.letter(letter("gate", TOPICS[0], 10, record(10).value))
        book.settle({0: 11}, {})
    assert told == ["ingest", "gate"]


def test_sources_are_apart(book: Book) -> None:
    book.watch("shop")
    for source in ("web", "shop", "unwatched"):
        book.collected(record(0, source=source, partition=len(source)))
    assert [len(book.recent(source)) for source in ("web", "shop", "unwatched")] == [1, 1, 0]
