"""Truncation: what the gate has judged leaves events.collected, so that a dropped payload is kept nowhere.

DeleteRecords moves the start of a partition's log; the bytes leave the disk with their segment, and a segment
closes only when a record is written after its ``segment.ms``. So that they leave a partition in which nothing
more happens, too, a tick is written there: a record without key, value and headers that the gate passes over.
From judging to the disk it takes at most ``segment.ms`` (10 min), the broker's retention check (5 min by
default) and the delay with which it deletes files (1 min).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.kernel import topics
from services.kernel.handler import Batch, Record
from services.kernel.message import Message
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings

COLLECTED = "events.collected"
EVERY_SECONDS = 3
"""Between two truncations of a partition."""
TICK = Message(None, None)

log = logging.getLogger(__name__)


def is_tick(record: Record) -> bool:
    return record.key is None and record.value is None and not record.headers


@dataclass(slots=True)
class _Partition:
    """``committed``: None until the group's offset is known. ``is_clean``: the last record was a tick."""

    committed: int | None = None
    truncated: int = 0
    is_clean: bool = False
    changed_at: float = 0.0


class Truncation:
    """Deletes the judged records of the partitions that this process has.

    It never fails the gate: what Kafka refuses is logged and tried again. After a restart it starts from the
    group's commits, so what a crash left undone is done then.
    """

    def __init__(
        self, settings: Settings, group: str, producer: BatchProducer, *, quiet_seconds: float | None = None
    ) -> None:
        self._settings = settings
        self._group = settings.topic_prefix + group
        self._producer = producer
        self._quiet_seconds = quiet_seconds or _segment_seconds() + 1
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._ends_clean: dict[TopicPartition, bool] = {}

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """From now on these partitions, no others."""
        now = time.monotonic()
        self._partitions = {tp: _Partition(changed_at=now) for tp in partitions}

    def judged(self, batch: Batch) -> None:
        """Note how a batch ends that is about to be committed."""
        self._ends_clean = {tp: is_tick(records[-1]) for tp, records in batch.items()}

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """These offsets are committed: what lies below may go."""
        now = time.monotonic()
        for tp, offset in offsets.items():
            partition = self._partitions.setdefault(tp, _Partition())
            partition.committed = offset
            partition.is_clean = self._ends_clean.get(tp, False)
            partition.changed_at = now

    async def run(self) -> None:
        """Truncate for ever, every few seconds."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                async with self._connected() as admin:
                    while True:
                        await self.sweep(admin)
                        await asyncio.sleep(EVERY_SECONDS)
            except Exception as error:  # whatever it is: the gate must go on, and it is tried again
                log.warning("judged events stay for now", extra={"why": type(error).__name__})

    async def sweep(self, admin: AIOKafkaAdminClient) -> None:
        """Truncate once what is due, and close the segments of quiet partitions."""
        unknown = [tp for tp, partition in self._partitions.items() if partition.committed is None]
        if unknown:
            offsets = await admin.list_consumer_group_offsets(self._group, partitions=unknown)
            for tp, found in offsets.items():
                partition = self._partitions.get(tp)
                if partition is not None and partition.committed is None:
                    partition.committed = max(0, found.offset)
        due = {
            tp: RecordsToDelete(before_offset=partition.committed)
            for tp, partition in self._partitions.items()
            if partition.committed is not None and partition.committed > partition.truncated
        }
        if due:
            await admin.delete_records(due, timeout_ms=10_000)
            for tp, records in due.items():
                if tp in self._partitions:
                    self._partitions[tp].truncated = records.before_offset
        await self._tick()

    async def _tick(self) -> None:
        now = time.monotonic()
        for tp, partition in list(self._partitions.items()):
            is_quiet = now - partition.changed_at > self._quiet_seconds
            if is_quiet and partition.committed and not partition.is_clean:
                await self._producer.produce(COLLECTED, tp.partition, [TICK])
                partition.changed_at = now

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka, request_timeout_ms=15_000)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


def _segment_seconds() -> float:
    return float(topics.registry()[COLLECTED].config["segment.ms"]) / 1000
