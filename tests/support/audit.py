"""The audit log for tests: writing to it, and what stands in its topic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import codec
from services.kernel.audit import TOPIC, Audit
from services.kernel.clock import Clock
from services.kernel.events import AuditAct
from services.kernel.handler import Batch
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.topics import registry


@asynccontextmanager
async def audit_of(settings: Settings, clock: Clock, service: str) -> AsyncIterator[Audit]:
    """The audit log of one service, which is connected for the length of the block."""
    producer = BatchProducer(settings, f"test-{service}", timeout=5)
    await producer.start()
    try:
        yield Audit(producer, clock, service)
    finally:
        await producer.stop()


async def acts(settings: Settings) -> list[AuditAct]:
    """All acts in the topic, in the order of their times."""
    found = [
        codec.decode(AuditAct, record.value) for part in (await batch(settings)).values() for record in part
    ]
    return sorted(found, key=lambda act: act.at)


async def batch(settings: Settings) -> Batch:
    """All records of the topic, as a batch loop would bring them."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        count = registry()[TOPIC].partitions
        partitions = [TopicPartition(settings.topic(TOPIC), partition) for partition in range(count)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: Batch = {}
        while sum(map(len, found.values())) < sum(ends.values()):
            for partition, records in (await consumer.getmany(timeout_ms=100)).items():
                found.setdefault(partition, []).extend(records)
        return found
    finally:
        await consumer.stop()
