"""Links and GPC signals as they come from Kafka, and grants that end by the schedule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.consent.control import plan
from services.consent.flow.changes import Decide, Link
from services.consent.flow.reading import in_force, verify_ledger
from services.consent.flow.signals import GROUP, LINKS, SIGNALS, STAGE
from services.kernel import codec, metrics
from services.kernel.clock import DAY, SystemClock
from services.kernel.events import ConsentSignal, IdentityLink
from services.kernel.health import Health
from services.kernel.message import Message
from services.kernel.produce import BatchProducer
from services.kernel.schedule import Schedule
from services.kernel.settings import Settings
from tests.support.clock import ManualClock
from tests.support.consent import Instance, consent, published, until

ANA, BEN, CAT, DAN = (bytes([n]) * 16 for n in range(4))


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[BatchProducer]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield producer
    await producer.stop()


def signal(kind: str, message_id: str, *names: bytes) -> Message:
    return Message(names[0], codec.encode(ConsentSignal(kind, list(names), "web", message_id, 1)))


def link(child: bytes, parent: bytes) -> Message:
    return Message(child, codec.encode(IdentityLink(child, parent, "web", "m", 1)))


def deny(*names: bytes) -> Decide:
    return Decide("test", names[0].hex(), frozenset(names), {"marketing": "deny"}, "api", b"{}")


async def is_denied(instance: Instance, name: bytes) -> bool:
    return "marketing" in (await in_force(instance.pool, name)).denied


async def test_links_of_both_topics_carry_a_denial(settings: Settings, producer: BatchProducer) -> None:
    async with consent(settings, SystemClock(), signals=True) as one:
        await one.decisions.submit([deny(ANA)])
        await producer.produce(LINKS, None, [link(BEN, ANA), link(BEN, ANA), link(CAT, CAT)])
        await producer.produce(SIGNALS, None, [signal("link", "m1", CAT, BEN)])
        await until(lambda: is_denied(one, CAT))
        await until(lambda: is_on_topic(settings, CAT))
        assert await one.pool.fetchval("SELECT count(*) FROM links") == 4


async def is_on_topic(settings: Settings, name: bytes) -> bool:
    return name in dict(await published(settings))


async def test_a_gpc_signal_denies_once_and_links_whom_it_names(
    settings: Settings, producer: BatchProducer
) -> None:
    async with consent(settings, SystemClock(), signals=True) as one:
        await producer.produce(SIGNALS, None, [signal("gpc", "m1", ANA), signal("gpc", "m1", ANA)])
        await until(lambda: is_denied(one, ANA))
        grant = Decide("test", "g", frozenset([ANA]), {"*": "grant"}, "accept", b"{}")
        await one.decisions.submit([grant])
        await producer.produce(SIGNALS, None, [signal("gpc", "m2", ANA), signal("gpc", "m3", DAN)])
        await until(lambda: is_denied(one, DAN))
        assert not await is_denied(one, ANA)
        assert await one.pool.fetchval("SELECT count(*) FROM ledger") == 3
        await producer.produce(SIGNALS, None, [signal("gpc", "m4", BEN, ANA)])
        await until(lambda: is_denied(one, BEN))
        assert await is_denied(one, ANA), "the person whom the browser now shows to be Ben objects"
        states = [await in_force(one.pool, name) for name in (ANA, BEN, DAN)]
        assert all(state.gpc for state in states)


async def test_a_gpc_signal_with_the_message_id_of_another_persons_counts_all_the_same(
    settings: Settings, producer: BatchProducer
) -> None:
    async with consent(settings, SystemClock(), signals=True) as one:
        await producer.produce(SIGNALS, 0, [signal("gpc", "m1", ANA)])
        await until(lambda: is_denied(one, ANA))
        await producer.produce(SIGNALS, 0, [signal("gpc", "m1", BEN), signal("gpc", "m1", BEN)])
        await until(lambda: is_denied(one, BEN))
        await producer.produce(SIGNALS, 0, [signal("gpc", "m1", CAT, DAN), signal("gpc", "m1", DAN, CAT)])
        await until(lambda: is_denied(one, CAT))
        assert await is_denied(one, DAN)
        assert await one.pool.fetchval("SELECT count(*) FROM ledger") == 3


def preference(
    kind: str, message_id: str, at: int, *purposes: str, names: tuple[bytes, ...] = (ANA,)
) -> Message:
    told = ConsentSignal(kind, list(names), "web", message_id, at, list(purposes))
    return Message(ANA, codec.encode(told))


async def test_a_preference_event_decides_once_and_grants_nothing_that_was_denied_since(
    settings: Settings, producer: BatchProducer
) -> None:
    clock = ManualClock(1_000)
    async with consent(settings, clock, signals=True) as one:

        async def holds(purpose: str, verdict: str, name: bytes = ANA) -> bool:
            state = await in_force(one.pool, name)
            return purpose in (state.denied if verdict == "deny" else [g.purpose for g in state.granted])

        first = preference("deny", "m1", 500, "marketing", "no such purpose", names=(ANA, BEN))
        await producer.produce(SIGNALS, 0, [first, preference("grant", "m1", 500, "analytics"), first])
        await until(lambda: holds("analytics", "grant"))
        assert await holds("marketing", "deny") and await holds("marketing", "deny", BEN)
        # Said before that denial was told, but after it was said: it was processed late, and counts.
        await producer.produce(SIGNALS, 0, [preference("grant", "m2", 600, "marketing")])
        await until(lambda: holds("marketing", "grant"))
        await one.decisions.submit([deny(BEN)])
        late = preference("grant", "m3", 900, "marketing", "personalization")
        await producer.produce(SIGNALS, 0, [late, first, preference("grant", "m1", 500, "analytics")])
        await until(lambda: holds("personalization", "grant"))
        assert await holds("marketing", "deny"), "the person objected at 1,000, after the event of 900"
        assert await one.pool.fetchval("SELECT count(*) FROM ledger") == 5
        assert [fault async for fault in verify_ledger(one.pool)] == []


@pytest.mark.parametrize(
    "bad",
    [
        Message(ANA, b"no avro"),
        signal("forget", "m", ANA),
        Message(ANA, codec.encode(ConsentSignal("link", [b"short", BEN], "web", "m", 1))),
    ],
    ids=["bytes", "kind", "hash"],
)
async def test_a_signal_that_can_not_be_read_stops_its_partition_alone(
    settings: Settings, producer: BatchProducer, bad: Message
) -> None:
    stops = metrics.RECORDS.labels(STAGE, "stopped")
    before = stops._value.get()
    async with consent(settings, SystemClock(), signals=True) as one:
        await one.decisions.submit([deny(ANA)])
        await producer.produce(
            SIGNALS, 0, [signal("link", "m1", ANA, BEN), bad, signal("link", "m2", ANA, CAT)]
        )
        await until(lambda: is_denied(one, BEN))
        await until(lambda: is_red(one))
        await producer.produce(SIGNALS, 1, [signal("link", "m3", ANA, DAN)])
        await until(lambda: is_denied(one, DAN))
        assert not await is_denied(one, CAT)
        await until(lambda: is_committed(settings, 1))
        assert not await is_committed(settings, 0)
        assert stops._value.get() == before + 1, "it rests, it is not tried again and again"
        assert list(one.health.reasons()) == ["loop signals: consent.signals, partition 0"]
    assert await dead_letters(settings) == 0


async def is_committed(settings: Settings, partition: int) -> bool:
    group = settings.topic_prefix + GROUP
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return bool(await consumer.committed(TopicPartition(settings.topic(SIGNALS), partition)))
    finally:
        await consumer.stop()


async def is_red(instance: Instance) -> bool:
    return any("partition" in part for part in instance.health.reasons())


async def dead_letters(settings: Settings) -> int:
    consumer = AIOKafkaConsumer(settings.topic("deadletters"), bootstrap_servers=settings.kafka)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        return sum(ends.values())
    finally:
        await consumer.stop()


async def test_grants_end_by_the_schedule(settings: Settings) -> None:
    clock = ManualClock()
    async with consent(settings, clock) as one:
        grant = Decide("test", "g", frozenset([ANA]), {"marketing": "grant"}, "accept", b"{}")
        await one.decisions.submit([grant, Link((ANA, BEN))])
        health = Health("consent")
        schedule = Schedule(settings, "consent", health)
        plan(schedule, one.decisions.lapse)
        clock.advance(180 * DAY)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(schedule.run())
            await until(lambda: has_lapsed(settings))
            task.cancel()
        assert [problem async for problem in verify_ledger(one.pool)] == []


async def has_lapsed(settings: Settings) -> bool:
    states = [state for key, state in await published(settings) if key == ANA]
    return bool(states) and (states[-1].version, states[-1].granted) == (2, [])
