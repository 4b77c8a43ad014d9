"""The batch producer against a real broker: durable, in order, bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import topics
from services.kernel.message import MAX_BATCH_BYTES, Message, partition_of
from services.kernel.outcome import BadRecord, Outage
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings

TOPIC = "events.collected"


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[BatchProducer]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield producer
    await producer.stop()


async def stored(settings: Settings) -> dict[int, list[tuple[int, bytes, bytes]]]:
    """(offset, key, value) by partition, all that the topic holds."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [
            TopicPartition(settings.topic(TOPIC), p) for p in range(topics.registry()[TOPIC].partitions)
        ]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[int, list[tuple[int, bytes, bytes]]] = {}
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                found.setdefault(tp.partition, []).extend((r.offset, r.key, r.value) for r in records)
        return found
    finally:
        await consumer.stop()


async def test_offsets_are_those_at_which_the_records_stand(
    settings: Settings, producer: BatchProducer
) -> None:
    calls = [[Message(b"%d.%d" % (c, n), b"v%d.%d" % (c, n), []) for n in range(30)] for c in range(20)]
    answers = await asyncio.gather(*[producer.produce(TOPIC, None, call) for call in calls])
    found = await stored(settings)
    at = {(p, offset): (key, value) for p, own in found.items() for offset, key, value in own}
    assert len(at) == 600
    for call, places in zip(calls, answers, strict=True):
        assert [at[place] for place in places] == [(message.key, message.value) for message in call]
        assert all(place[0] == partition_of(m.key or b"", 8) for m, place in zip(call, places, strict=True))


async def test_calls_keep_their_order_within_a_partition(settings: Settings, producer: BatchProducer) -> None:
    await asyncio.gather(
        *[producer.produce(TOPIC, 3, [Message(b"k", b"%d" % number, [])]) for number in range(500)]
    )
    found = await stored(settings)
    assert [value for _, _, value in found[3]] == [b"%d" % number for number in range(500)]


async def test_more_than_a_batch_is_split_and_complete(settings: Settings, producer: BatchProducer) -> None:
    messages = [Message(b"%d" % n, bytes(400_000), []) for n in range(9)]
    places = await producer.produce(TOPIC, 1, messages)
    assert [offset for _, offset in places] == list(range(9))
    assert len((await stored(settings))[1]) == 9


async def test_a_record_that_no_broker_takes_is_refused_before_anything_is_written(
    settings: Settings, producer: BatchProducer
) -> None:
    with pytest.raises(BadRecord, match="too_large"):
        await producer.produce(TOPIC, 0, [Message(b"a", b"a", []), Message(b"b", bytes(2_000_000), [])])
    assert await stored(settings) == {}


async def test_a_refused_batch_does_not_poison_the_ones_after_it(
    settings: Settings, producer: BatchProducer
) -> None:
    await producer.produce(TOPIC, 0, [Message(b"a", b"a", [])])
    with pytest.raises(BadRecord, match="too_large"):
        # The broker refuses more than max.message.bytes; the limit here is lifted to get that far.
        huge = [Message(b"%d" % n, bytes(890_000), []) for n in range(3)]
        producer._producer._message_accumulator._batch_size = 3_000_000  # type: ignore[union-attr]
        assert MAX_BATCH_BYTES < 2_097_152
        await producer.produce(TOPIC, 0, huge)
    async with asyncio.timeout(30):
        await producer.produce(TOPIC, 0, [Message(b"b", b"b", [])])
    assert [value for _, _, value in (await stored(settings))[0]][-1] == b"b"


async def test_an_unreachable_broker_is_an_outage_and_memory_stays_bounded(settings: Settings) -> None:
    """A listener that never answers stands for a broker that is gone."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        away = replace(settings, kafka=f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Outage):
            await BatchProducer(away, "test", timeout=0.5).start()


async def test_above_the_bound_calls_fail_at_once(settings: Settings) -> None:
    producer = BatchProducer(settings, "test", max_bytes=100_000)
    await producer.start()
    try:
        calls = [
            asyncio.create_task(producer.produce(TOPIC, 0, [Message(b"k", bytes(60_000), [])]))
            for _ in range(5)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, Outage) for result in results) == 4
        assert producer.bytes_under_way == 0
        await producer.produce(TOPIC, 0, [Message(b"k", b"later", [])])
    finally:
        await producer.stop()
