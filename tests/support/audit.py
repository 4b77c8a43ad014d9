"""The audit log for tests: writing to it, and what stands in its topic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import codec
from services.kernel.audit import TOPIC, Audit
from services.kernel.clock import Clock
from services.kernel.events import AuditAct
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
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        count = registry()[TOPIC].partitions
        partitions = [TopicPartition(settings.topic(TOPIC), partition) for partition in range(count)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        found: list[AuditAct] = []
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [codec.decode(AuditAct, record.value) for record in records]
        return sorted(found, key=lambda act: act.at)
    finally:
        await consumer.stop()
