"""Applying events: once each, whoever reads them, and never what the person opted out of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import headers
from services.kernel.clock import DAY, HOUR
from services.kernel.codec import decode, encode
from services.kernel.events import ConsentSignal, Event, GoldenRecord
from services.kernel.message import Message
from services.kernel.outcome import Outage
from services.kernel.postgres import OUTAGES, RETRY, TRANSACTION_SECONDS
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.profile.flow.applying import Applying
from services.profile.store import WINDOW_DAYS
from tests.support.clock import ManualClock
from tests.support.profile import Worker, World, make_event, running, worker

TOPIC = "events.permitted"


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield World(settings, ManualClock(), producer)
    await producer.stop()


@pytest.fixture
async def one(world: World) -> AsyncIterator[Worker]:
    async with worker(world) as found:
        yield found


def events_of(world: World, count: int, user: str = "u1", first: int = 0) -> list[Event]:
    return [
        make_event(world.clock, f"m{n}", user_id=user, properties={"total": 0.1}, ago=n * HOUR)
        for n in range(first, first + count)
    ]


async def count_of(one: Worker, user: str) -> int:
    """How often the person's golden record says that something was viewed; folded now."""
    await one.pool.execute("INSERT INTO marks (root) VALUES ($1)", one.world.user(user))
    async with running(*one.relays()):
        await one.published()
    record = (await one.world.golden()).get(one.world.user(user).hex())
    return record.activity["Viewed"].count if record else 0


async def commit(world: World, offset: int, partition: int, group: str = "profile") -> None:
    """Set the group's commit in Kafka: the hint."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.settings.kafka,
        group_id=world.settings.topic_prefix + group,
        enable_auto_commit=False,
    )
    await consumer.start()
    tp = TopicPartition(world.settings.topic(TOPIC), partition)
    consumer.assign([tp])
    await consumer.commit({tp: offset})
    await consumer.stop()


# --- test events ------------------------------------------------------------------------------------


async def test_a_test_event_is_applied_to_no_profile(world: World, one: Worker) -> None:
    tested = make_event(world.clock, "t", user_id="u1", properties={"total": 5})
    hash_, data, named = world.message(tested)
    await world.producer.produce(TOPIC, 3, [Message(hash_, data, [*named, (headers.TEST, b"1")])])
    await world.permit(*events_of(world, 2), partition=3)
    await one.claim(range(8))
    await one.applying.handle(await one.waiting([3]))
    assert await one.value("SELECT count(*) FROM events") == 2
    assert await count_of(one, "u1") == 2
    assert await one.value("SELECT max(next_offset) FROM partitions") == 3
    assert await world.dead_letters() == []


# --- offsets: Postgres is the commit point ----------------------------------------------------------


async def test_a_crash_between_the_two_commits_applies_once(world: World, one: Worker) -> None:
    await world.permit(*events_of(world, 10), partition=3)
    await one.claim(range(8))
    await one.applying.handle(await one.waiting([3]))  # and dies here: Kafka knows nothing of it
    await world.permit(*events_of(world, 5, first=10), partition=3)
    async with running(one.loop()):
        await one.caught_up()
    assert await one.value("SELECT count(*) FROM events") == 15
    assert await count_of(one, "u1") == 15


async def test_a_hint_behind_postgres_only_has_profiles_published_again(world: World, one: Worker) -> None:
    await world.permit(*events_of(world, 10), partition=3)
    async with running(one.loop(), *one.relays()):
        await one.caught_up()
        await one.published()
    (before,) = (await world.golden()).values()
    await one.pool.execute("TRUNCATE message_ids")  # so that nothing but the offset can tell
    await commit(world, 4, partition=3)
    async with running(one.loop(), *one.relays()):
        await world.permit(*events_of(world, 1, user="u2", first=50), partition=3)
        await one.applied(11)
        await one.published()
    after = (await world.golden())[before.profile_id]
    assert after.version > before.version
    assert msgspec.structs.replace(after, version=before.version) == before


async def test_a_hint_ahead_of_postgres_loses_nothing(world: World, one: Worker) -> None:
    await world.permit(*events_of(world, 10), partition=3)
    await commit(world, 10, partition=3)
    async with running(one.loop()):
        await one.applied(10)


async def test_what_was_fetched_before_postgres_was_asked_is_not_handled(world: World, one: Worker) -> None:
    """The consumer begins to fetch at the hint while the handler still asks where to start."""

    class Slow(Applying):
        async def assigned(self, partitions: set[TopicPartition]) -> Mapping[TopicPartition, int]:
            await asyncio.sleep(1)
            return await super().assigned(partitions)

    await world.permit(*events_of(world, 10), partition=3)
    await commit(world, 6, partition=3)
    one.applying.__class__ = Slow
    async with running(one.loop()):
        await one.applied(10)


async def test_a_worker_that_lost_its_partition_commits_nothing(world: World, one: Worker) -> None:
    await world.permit(*events_of(world, 10), partition=3)
    await one.claim([3])
    batch = await one.waiting([3])
    async with worker(world) as other:
        await other.claim([3])
        with pytest.raises(Outage):
            await one.applying.handle(batch)
        assert await one.value("SELECT count(*) FROM events") == 0
        assert await one.value("SELECT count(*) FROM message_ids") == 0
        assert await one.value("SELECT next_offset FROM partitions WHERE partition = 3") == 0
        await other.applying.handle(batch)
    assert await count_of(one, "u1") == 10


async def test_the_offset_of_postgres_never_goes_back(world: World, one: Worker) -> None:
    """The answer to a commit was lost, and the batch comes again in smaller pieces."""
    await world.permit(*events_of(world, 10), partition=3)
    await one.claim([3])
    batch = await one.waiting([3])
    await one.applying.handle(batch)
    one.applying._claimed = {p: c._replace(next_offset=0) for p, c in one.applying._claimed.items()}
    await one.applying.handle({tp: records[:4] for tp, records in batch.items()})
    assert await one.value("SELECT next_offset FROM partitions WHERE partition = 3") == 10
    assert await count_of(one, "u1") == 10


# --- deduplication ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(-1, 1), (1, -1)])
async def test_a_retry_past_midnight_counts_once(world: World, one: Worker, sides: tuple[int, int]) -> None:
    midnight = (world.clock.now() // DAY) * DAY
    copies = [
        make_event(world.clock, "m1", user_id="u1", timestamp=midnight, received_at=midnight + side * 1000)
        for side in sides
    ]
    assert copies[0].received_day != copies[1].received_day
    await one.claim([3])
    for copy in copies:
        await world.permit(copy, partition=3)
    batch = await one.waiting([3])
    for tp, records in batch.items():
        for record in records:
            await one.applying.handle({tp: [record]})
    assert await count_of(one, "u1") == 1


async def test_copies_in_one_batch_count_once_and_the_first_is_kept(world: World, one: Worker) -> None:
    first, second = (
        make_event(world.clock, "m1", type="identify", user_id="u1", traits={"copy": n}) for n in (1, 2)
    )
    await world.permit(first, second, partition=3)
    async with running(one.loop(), *one.relays()):
        await one.caught_up()
        await one.published()
    (record,) = (await world.golden()).values()
    assert record.traits == b'{"copy":1}'
    assert await one.value("SELECT count(*) FROM events") == 1


async def test_two_sources_may_use_the_same_message_id(world: World, one: Worker) -> None:
    copies = [make_event(world.clock, "m1", user_id="u1", source=source) for source in ("web", "app")]
    await world.permit(*copies, partition=3)
    async with running(one.loop()):
        await one.applied(2)
    assert await count_of(one, "u1") == 2


async def test_days_are_dropped_after_the_window_and_their_events_refused(world: World, one: Worker) -> None:
    assert isinstance(world.clock, ManualClock)
    old = make_event(world.clock, "m1", user_id="u1")
    await world.permit(old, partition=3)
    async with running(one.loop()):
        await one.applied(1)
    days = "SELECT count(*) FROM pg_class WHERE relname = $1"
    world.clock.advance(WINDOW_DAYS * DAY)
    await one.control.turn_days()
    assert await one.value(days, f"message_ids_{old.received_day}") == 1
    world.clock.advance(2 * DAY)
    await one.control.turn_days()
    assert await one.value(days, f"message_ids_{old.received_day}") == 0
    assert await one.value(days, f"events_{old.received_day}") == 1
    await world.permit(old, make_event(world.clock, "m2", user_id="u1"), partition=3)
    async with running(one.loop()):
        await one.applied(2)
    assert [letter.reason for letter in await world.dead_letters()] == ["outside_window"]


async def test_a_missing_day_is_made_when_an_event_of_it_comes(world: World, one: Worker) -> None:
    await world.permit(*events_of(world, 1), partition=3)
    async with running(one.loop()):
        await one.applied(1)
        day = world.clock.now() // DAY
        await one.pool.execute(f"DROP TABLE events_{day}; DROP TABLE message_ids_{day}")
        await world.permit(*events_of(world, 2, first=1), partition=3)
        await one.applied(2)
    assert await count_of(one, "u1") == 3


# --- consent ----------------------------------------------------------------------------------------


async def test_what_was_waiting_when_the_person_opted_out_is_not_applied(world: World, one: Worker) -> None:
    """The gate passed these events on, by a state that is not the newest any more."""
    await one.claim(range(8))
    await world.permit(*events_of(world, 5), *events_of(world, 2, user="u2", first=5), partition=3)
    await world.decide(world.user("u1"), denied=["*"])
    await one.applying.handle(await one.waiting([3]))
    assert await one.value("SELECT count(*) FROM events") == 2
    assert await one.value("SELECT count(*) FROM message_ids") == 2
    assert await one.value("SELECT count(*) FROM facets") == 1
    assert await one.value("SELECT next_offset FROM partitions WHERE partition = 3") == 7
    assert await count_of(one, "u1") == 0


async def test_nothing_is_judged_before_the_view_holds_every_decision(world: World, one: Worker) -> None:
    await one.claim([3])
    await world.permit(*events_of(world, 5), partition=3)
    batch = await one.waiting([3])
    async with one.view_held():
        await world.decide(world.user("u1"), denied=["*"])
        applying = asyncio.create_task(one.applying.handle(batch))
        done, _ = await asyncio.wait([applying], timeout=0.5)
        assert not done
    await applying
    assert await one.value("SELECT count(*) FROM facets") == 0


async def test_what_a_paused_worker_judged_is_not_committed_later(world: World, one: Worker) -> None:
    """It stopped between judging and committing; the server has ended its transaction when it wakes."""

    class Paused(Applying):
        async def _advance(self, *arguments: Any) -> None:
            await asyncio.sleep(TRANSACTION_SECONDS + 0.5)
            await super()._advance(*arguments)

    await one.claim([3])
    await world.permit(*events_of(world, 5), partition=3)
    one.applying.__class__ = Paused
    with pytest.raises(OUTAGES):
        await one.applying.handle(await one.waiting([3]))
    assert await one.value("SELECT count(*) FROM facets") == 0


async def test_a_denial_of_any_identifier_of_the_event_drops_it(world: World, one: Worker) -> None:
    await world.decide(world.anonymous("a1"), denied=["*"])
    await world.permit(make_event(world.clock, "m1", user_id="u1", anonymous_id="a1"), partition=3)
    async with running(one.loop()):
        await one.caught_up()
    assert await one.value("SELECT count(*) FROM facets") == 0


async def test_the_link_of_a_dropped_event_is_told_to_consent(world: World, one: Worker) -> None:
    """Else what the person does on the new device alone would pass."""
    await one.claim([3])
    await world.decide(world.user("u1"), denied=["*"])
    ids: list[tuple[str, str | None]] = [("u1", "a1"), ("u1", "a1"), ("u1", "undefined"), ("u1", None)]
    events = [
        make_event(world.clock, f"m{n}", user_id=user, anonymous_id=anonymous)
        for n, (user, anonymous) in enumerate([*ids, ("u2", "a2")])
    ]
    await world.permit(*events, partition=3)
    await one.applying.handle(await one.waiting([3]))
    [record] = await world.read("consent.signals")
    signal = decode(ConsentSignal, record.value)
    assert record.key == world.user("u1")
    assert (signal.kind, signal.identifiers) == ("link", [world.user("u1"), world.anonymous("a1")])
    assert (signal.source, signal.message_id) == ("web", "m0")
    assert await one.value("SELECT count(*) FROM events") == 1


async def test_nothing_is_committed_before_the_link_is_told(world: World, one: Worker) -> None:
    class Failing(BatchProducer):
        async def produce(self, *arguments: Any) -> list[tuple[int, int]]:
            raise Outage("no broker")

    await one.claim([3])
    await world.decide(world.user("u1"), denied=["*"])
    await world.permit(make_event(world.clock, "m1", user_id="u1", anonymous_id="a1"), partition=3)
    batch = await one.waiting([3])
    one.applying._producer = Failing(world.settings, "failing")
    with pytest.raises(Outage):
        await one.applying.handle(batch)
    assert await one.value("SELECT next_offset FROM partitions WHERE partition = 3") == 0
    one.applying._producer = world.producer
    await one.applying.handle(batch)
    assert len(await world.read("consent.signals")) == 1


async def test_the_purposes_allowed_at_that_time_stay_with_the_event(world: World, one: Worker) -> None:
    await world.decide(world.user("u1"), denied=["marketing"])
    await world.permit(*events_of(world, 1), partition=3)
    async with running(one.loop()):
        await one.applied(1)
    assert await one.value("SELECT purposes FROM events") == "analytics"


# --- records that can't be applied ------------------------------------------------------------------


async def test_bad_records_become_dead_letters_and_the_others_are_applied(world: World, one: Worker) -> None:
    good = events_of(world, 2)
    good_one = world.message(good[0])
    other = world.message(make_event(world.clock, "m7", user_id="u7"))
    unnamed = make_event(world.clock, "m8", user_id="u1", name=None)
    unreadable = make_event(world.clock, "m9", user_id="u1", payload=b"{")
    await world.producer.produce(
        TOPIC,
        3,
        [
            good_one,
            other._replace(headers=good_one.headers),
            Message(world.user("u1"), b"nonsense", other.headers),
            world.message(unnamed),
            Message(world.user("u1"), encode(unreadable), good_one.headers),
            good_one._replace(headers=[*good_one.headers, (headers.STAMP, b"{")]),
            world.message(good[1]),
        ],
    )
    async with running(one.loop()):
        await one.applied(2)
        await one.caught_up()
    letters = await world.dead_letters()
    assert sorted((letter.offset, letter.reason) for letter in letters) == [
        (1, "identifiers_differ"),
        (2, "not_avro"),
        (3, "no_event_name"),
        (4, "bad_payload"),
        (5, "bad_header"),
    ]
    assert all(letter.step == "profile" and letter.topic == world.settings.topic(TOPIC) for letter in letters)


async def test_dead_letters_are_acknowledged_before_the_offset_moves(world: World, one: Worker) -> None:
    await world.producer.produce(TOPIC, 3, [Message(b"k" * 16, b"nonsense")])
    await one.claim([3])
    batch = await one.waiting([3])
    await world.producer.stop()
    with pytest.raises((Outage, AssertionError)):
        await one.applying.handle(batch)
    assert await one.value("SELECT next_offset FROM partitions WHERE partition = 3") == 0
    await world.producer.start()
    assert await one.applying.handle(batch) == 1
    assert await one.value("SELECT next_offset FROM partitions WHERE partition = 3") == 1


# --- several workers --------------------------------------------------------------------------------


def crowd(world: World, count: int) -> list[Event]:
    """Events of a few people who share devices, log in on them and alias each other: much to lock."""
    draw = random.Random(7)  # noqa: S311 - no secret
    users, devices = [f"u{n}" for n in range(12)], [f"a{n}" for n in range(20)]
    events = []
    for n in range(count):
        user = draw.choice([None, *users])
        kind = draw.choice(["track"] * 6 + ["identify", "alias" if user else "page"])
        events.append(
            make_event(
                world.clock,
                f"m{n}",
                type=kind,
                user_id=user,
                anonymous_id=draw.choice(devices) if user is None or draw.random() < 0.5 else None,
                previous_id=draw.choice(users) if kind == "alias" and n % 40 == 0 else None,
                ago=draw.randrange(20 * 24) * HOUR,
                **({"traits": {"city": n}} if kind == "identify" else {"properties": {"total": n / 7}}),
            )
        )
    return events


async def test_workers_that_meet_in_one_person_lose_and_double_nothing(world: World, one: Worker) -> None:
    """Events of one person stand in several partitions; two workers apply them at the same time, in small
    batches. The outcome is that of one worker that reads everything in another order."""
    events = crowd(world, 600)
    await world.permit(*events)
    async with worker(world) as two:
        await one.claim([0, 1, 2, 3])
        await two.claim([4, 5, 6, 7])
        await asyncio.gather(*(_in_pieces(w, p) for w, p in ((one, range(4)), (two, range(4, 8)))))
    assert await one.value("SELECT count(*) FROM events") == 600
    async with running(*one.relays()):
        await one.published()
    met = _comparable(await world.golden())
    await one.pool.execute("TRUNCATE facets, message_ids, events, evidence, partitions")
    async with worker(world) as alone:
        await alone.claim(range(8))
        batch = await alone.waiting(range(8))
        await alone.applying.handle({tp: records[::-1] for tp, records in batch.items()})
        async with running(*alone.relays()):
            await alone.published()
    assert _comparable(await world.golden()) == met
    assert len(met) < 20


async def _in_pieces(one: Worker, partitions: range) -> None:
    batch = await one.waiting(partitions)
    while batch:
        piece = {tp: records[:5] for tp, records in batch.items()}
        for _ in range(50):
            with suppress(*RETRY):  # as the loop does
                await one.applying.handle(piece)
                break
        batch = {tp: records[5:] for tp, records in batch.items() if records[5:]}


def _comparable(golden: dict[str, GoldenRecord]) -> dict[str, bytes]:
    return {id: encode(msgspec.structs.replace(record, version=0)) for id, record in golden.items()}


async def test_a_rebalance_under_load_applies_everything_once(world: World, one: Worker) -> None:
    events = crowd(world, 400)
    async with worker(world) as two, running(one.loop()):
        await world.permit(*events[:200])
        async with running(two.loop()):
            await world.permit(*events[200:], *events[:100])
            await one.applied(400)
        await world.permit(*events[300:])
        await one.caught_up()
    assert await one.value("SELECT count(*) FROM events") == 400
    assert await one.value("SELECT count(DISTINCT record) FROM events") == 400
