"""Reading the topics from outside while the demo plays, and knowing when all is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from services.kernel.outcome import CandorError
from services.kernel.settings import SERVICES, Settings
from services.kernel.topics import registry

Record = Any
"""aiokafka's ConsumerRecord."""
STABLE_SECONDS = 1.5
PATIENCE_SECONDS = 120
MARKER = 1
"""A transaction's end takes an offset that no consumer can commit past."""


class NotQuiet(CandorError):
    """The services did not finish their work; the message says where it stands still."""


class Reader:
    """Everything that is written to some topics while the block is entered, by unprefixed name, as read."""

    def __init__(self, settings: Settings, topics: Iterable[str]) -> None:
        self._settings = settings
        self._names = {settings.topic(name): name for name in topics}
        self.records: dict[str, list[Record]] = {name: [] for name in self._names.values()}
        self._consumer: Any = None
        self._starts: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Reader:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4_000_000,
            fetch_max_wait_ms=100,
        )
        await self._consumer.start()
        partitions = [
            TopicPartition(topic, number)
            for topic, name in self._names.items()
            for number in range(registry()[name].partitions)
        ]
        self._consumer.assign(partitions)
        self._starts = dict(await self._consumer.end_offsets(partitions))
        for partition, offset in self._starts.items():
            self._consumer.seek(partition, offset)
        self._task = asyncio.create_task(self._read(), name="demo reader")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._consumer.stop()

    async def caught_up(self) -> None:
        """Return once all that is in the topics now was read. Raises what reading raised."""
        ends = await self._consumer.end_offsets(list(self._starts))
        for partition, end in ends.items():
            while await self._consumer.position(partition) < end:
                if self._task is not None and self._task.done():
                    self._task.result()
                await asyncio.sleep(0.05)

    async def grown(self, topic: str) -> int:
        """By how many offsets the topic has grown since the block was entered."""
        starts = {tp: start for tp, start in self._starts.items() if self._names[tp.topic] == topic}
        ends = await self._consumer.end_offsets(list(starts))
        return sum(ends[tp] - start for tp, start in starts.items())

    async def _read(self) -> None:
        while True:
            batch = await self._consumer.getmany(timeout_ms=200)
            for partition, records in batch.items():
                self.records[self._names[partition.topic]].extend(records)


async def living_keys(settings: Settings, topic: str) -> int:
    """How many keys of a compacted topic have a value now."""
    living: set[bytes] = set()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        partitions = [
            TopicPartition(settings.topic(topic), number) for number in range(registry()[topic].partitions)
        ]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        (living.add if record.value is not None else living.discard)(record.key)
    finally:
        await consumer.stop()
    return len(living)


class Quiet:
    """Says when the services have done all there is to do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumed = {
            settings.topic(name) for name, topic in registry().items() if topic.consumers and topic.producers
        }

    async def reached(self) -> None:
        """Return once every consumer group has read everything and no topic has grown for STABLE_SECONDS.

        Raises NotQuiet when that takes more than PATIENCE_SECONDS.
        """
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka)
        await consumer.start()
        await admin.start()
        try:
            await self._wait(consumer, admin)
        finally:
            await admin.close()
            await consumer.stop()

    async def _wait(self, consumer: Any, admin: AIOKafkaAdminClient) -> None:
        partitions = [
            TopicPartition(self._settings.topic(name), number)
            for name, topic in registry().items()
            for number in range(topic.partitions)
        ]
        clock = asyncio.get_running_loop().time
        deadline = clock() + PATIENCE_SECONDS
        ends: dict[TopicPartition, int] = {}
        since = clock()
        while True:
            now = await consumer.end_offsets(partitions)
            behind = await self._behind(admin, now)
            if now != ends or behind:
                ends, since = now, clock()
            elif clock() - since >= STABLE_SECONDS:
                return
            if clock() > deadline:
                where = ", ".join(behind) or "topics still grow"
                raise NotQuiet(f"after {PATIENCE_SECONDS} s not all is done: {where}; see candor status")
            await asyncio.sleep(0.1)

    async def _behind(self, admin: AIOKafkaAdminClient, ends: dict[TopicPartition, int]) -> list[str]:
        """Groups that have not read all of a topic that they consume."""
        behind = []
        for group in await self._groups(admin):
            committed = await admin.list_consumer_group_offsets(group)
            for partition, position in committed.items():
                lag = ends.get(partition, 0) - position.offset
                if partition.topic in self._consumed and lag > MARKER:
                    behind.append(f"{group} {lag:,} behind in {partition.topic}")
        return behind

    async def _groups(self, admin: AIOKafkaAdminClient) -> list[str]:
        """The services' own; whoever else reads here may take their time."""
        ours = tuple(self._settings.topic_prefix + service for service in SERVICES)
        return sorted({name for name, _ in await admin.list_consumer_groups() if name.startswith(ours)})
