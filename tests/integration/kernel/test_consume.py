"""The failure rule of the batch loop, against a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel.clock import SystemClock
from services.kernel.consume import BatchLoop
from services.kernel.deadletter import DeadLetters
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.health import Health
from services.kernel.message import Message
from services.kernel.outcome import BadRecord, Dead, Outage, TooManyDead
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings

TOPIC = "events.collected"


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[BatchProducer]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield producer
    await producer.stop()


class Recorder(BaseHandler):
    """Keeps the values it handled; ``fault`` is called with each batch first and may raise."""

    def __init__(self, dead_letters: DeadLetters | None = None) -> None:
        self.values: list[bytes] = []
        self.refused: list[tuple[bytes, str]] = []
        self.commits: list[Mapping[TopicPartition, int]] = []
        self.dead_letters = dead_letters
        self.calls = 0

    def fault(self, records: list[Record]) -> None:
        return None

    async def handle(self, batch: Batch) -> int:
        self.calls += 1
        records = [record for own in batch.values() for record in own]
        self.fault(records)
        self.values += [record.value or b"" for record in records]
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        self.refused.append((record.value or b"", why.reason))
        if self.dead_letters is not None:
            await self.dead_letters.send([(record, why)])

    async def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.commits.append(offsets)


def loop_of(settings: Settings, handler: Recorder, health: Health, **options: Any) -> BatchLoop:
    return BatchLoop(
        settings, group="test", topics=[TOPIC], handler=handler, stage="test", health=health, **options
    )


async def until(task: asyncio.Task[None], condition: object) -> None:
    """Wait for the condition; a loop that ended raises."""
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():
            if task.done():
                task.result()
            await asyncio.sleep(0.01)


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def numbered(count: int) -> list[Message]:
    return [Message(b"%d" % number, b"%d" % number, []) for number in range(count)]


async def test_an_outage_commits_nothing_and_the_records_come_again(
    settings: Settings, producer: BatchProducer
) -> None:
    class Failing(Recorder):
        def fault(self, records: list[Record]) -> None:
            if self.calls <= 2:
                raise Outage("Postgres is away")

    await producer.produce(TOPIC, 0, numbered(50))
    handler, health = Failing(), Health("test")
    task = asyncio.create_task(loop_of(settings, handler, health).run())
    await until(task, lambda: handler.calls == 2)
    assert not handler.commits
    assert not health.ready
    await until(task, lambda: handler.commits)
    assert handler.values == [b"%d" % number for number in range(50)]
    await until(task, lambda: health.ready)
    await stopped(task)


async def test_the_commit_comes_last_and_a_restart_goes_on_behind_it(
    settings: Settings, producer: BatchProducer
) -> None:
    await producer.produce(TOPIC, 0, numbered(10))
    first = Recorder()
    task = asyncio.create_task(loop_of(settings, first, Health("test")).run())
    await until(task, lambda: first.commits)
    await stopped(task)
    assert [offset for commit in first.commits for offset in commit.values()][-1] == 10
    await producer.produce(TOPIC, 0, [Message(b"new", b"new", [])])
    second = Recorder()
    task = asyncio.create_task(loop_of(settings, second, Health("test")).run())
    await until(task, lambda: second.commits)
    await stopped(task)
    assert second.values == [b"new"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.NumericValueOutOfRangeError("too large"), "refused_by_postgres"),
        (BadRecord("nonsense", "field x"), "nonsense"),
    ],
)
async def test_the_bad_record_is_found_and_the_others_go_on(
    settings: Settings, producer: BatchProducer, error: Exception, reason: str
) -> None:
    class Picky(Recorder):
        def fault(self, records: list[Record]) -> None:
            if any(record.value == b"17" for record in records):
                raise error

    await producer.produce(TOPIC, 0, numbered(40))
    handler = Picky(DeadLetters(producer, SystemClock(), "test"))
    task = asyncio.create_task(loop_of(settings, handler, Health("test")).run())
    await until(task, lambda: handler.commits and len(handler.values) == 39)
    await stopped(task)
    assert handler.refused == [(b"17", reason)]
    assert handler.values == [b"%d" % number for number in range(40) if number != 17]
    consumer = AIOKafkaConsumer(
        settings.topic("deadletters"), bootstrap_servers=settings.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        letter = await asyncio.wait_for(consumer.getone(), 10)
    finally:
        await consumer.stop()
    assert b"17" in letter.value
    assert reason.encode() in letter.value


async def test_a_lost_transaction_is_run_again_at_once(settings: Settings, producer: BatchProducer) -> None:
    class Unlucky(Recorder):
        def fault(self, records: list[Record]) -> None:
            if self.calls <= 3:
                raise asyncpg.DeadlockDetectedError("deadlock detected")

    await producer.produce(TOPIC, 0, numbered(5))
    handler, health = Unlucky(), Health("test")
    task = asyncio.create_task(loop_of(settings, handler, health).run())
    await until(task, lambda: handler.commits)
    await stopped(task)
    assert handler.calls == 4
    assert len(handler.values) == 5


async def test_too_many_dead_letters_in_a_row_stop_the_process(
    settings: Settings, producer: BatchProducer
) -> None:
    class AllDead(Recorder):
        async def handle(self, batch: Batch) -> int:
            return sum(map(len, batch.values()))

    await producer.produce(TOPIC, 0, numbered(60))
    task = asyncio.create_task(
        loop_of(settings, AllDead(), Health("test"), max_records=10, dead_in_row=50).run()
    )
    with pytest.raises(TooManyDead):
        await asyncio.wait_for(task, 30)


async def test_two_members_share_the_partitions_and_every_record_is_handled(
    settings: Settings, producer: BatchProducer
) -> None:
    one, two = Recorder(), Recorder()
    first = asyncio.create_task(loop_of(settings, one, Health("test")).run())
    await producer.produce(TOPIC, None, numbered(100))
    await until(first, lambda: len(one.values) == 100)
    second = asyncio.create_task(loop_of(settings, two, Health("test")).run())
    sent = 100
    async with asyncio.timeout(60):
        while not two.values:
            await producer.produce(TOPIC, None, numbered(100))
            sent += 100
            await asyncio.sleep(0.05)
        while len(one.values) + len(two.values) < sent:
            await asyncio.sleep(0.05)
    await stopped(first)
    await stopped(second)
    assert set(one.values) | set(two.values) == {b"%d" % number for number in range(100)}


async def test_the_handler_says_where_an_assignment_starts(
    settings: Settings, producer: BatchProducer
) -> None:
    class Ahead(Recorder):
        async def assigned(self, partitions: set[TopicPartition]) -> Mapping[TopicPartition, int]:
            return {tp: 7 for tp in partitions if tp.partition == 0}

    await producer.produce(TOPIC, 0, numbered(10))
    handler = Ahead()
    task = asyncio.create_task(loop_of(settings, handler, Health("test")).run())
    await until(task, lambda: handler.commits)
    await stopped(task)
    assert handler.values == [b"7", b"8", b"9"]


async def test_of_a_topic_shorter_than_what_was_handled_nothing_is_passed_over(
    settings: Settings, producer: BatchProducer
) -> None:
    """It would be, as handled already, until the topic is as long again."""

    class Ahead(Recorder):
        async def assigned(self, partitions: set[TopicPartition]) -> Mapping[TopicPartition, int]:
            return {tp: 11 for tp in partitions if tp.partition == 0}

    await producer.produce(TOPIC, 0, numbered(10))
    handler, health = Ahead(), Health("test")
    task = asyncio.create_task(loop_of(settings, handler, health).run())
    await until(task, lambda: any("ends at 10" in reason for reason in health.reasons().values()))
    await stopped(task)
    assert handler.values == []
    assert not handler.commits


async def test_batches_get_smaller_until_they_can_be_handled_in_time(
    settings: Settings, producer: BatchProducer
) -> None:
    class Slow(Recorder):
        def fault(self, records: list[Record]) -> None:
            if len(records) > 10:
                raise asyncpg.TransactionTimeoutError("terminating connection due to transaction timeout")

    await producer.produce(TOPIC, 0, numbered(100))
    handler = Slow()
    task = asyncio.create_task(loop_of(settings, handler, Health("test"), max_records=64).run())
    await until(task, lambda: len(handler.values) == 100)
    await stopped(task)
    assert handler.values == [b"%d" % number for number in range(100)]
