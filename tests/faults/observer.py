"""Reads topics alongside: what stood in them, though it is truncated later, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.kernel import codec
from services.kernel.events import DeadLetter, Event, Transition
from services.kernel.settings import Settings
from services.kernel.topics import registry

KINDS: dict[str, Any] = {
    "events.collected": Event,
    "deadletters": DeadLetter,
    "segments.transitions": Transition,
}


class Observer:
    """Everything that readers of committed records could see, by topic, each record once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: set[tuple[str, int, int]] = set()
        self._next: dict[TopicPartition, int] = {}
        self.missed = 0
        """Records of events.collected that were truncated before they were read here."""
        self.records: dict[str, list[Any]] = {topic: [] for topic in KINDS}

    async def run(self) -> None:
        """Read until cancelled, through broker restarts."""
        while True:
            try:
                async with self._consumer() as consumer:
                    while True:
                        for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                            self._take(tp, records)
            except (KafkaError, OSError):
                await asyncio.sleep(0.5)

    async def drained(self) -> None:
        """Read what is there now to its end."""
        async with asyncio.timeout(60), self._consumer() as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    self._take(tp, records)
            for tp, end in ends.items():
                if tp.topic == self._settings.topic("events.collected"):
                    self.missed += max(0, end - self._next.get(tp, 0))
                    self._next[tp] = max(end, self._next.get(tp, 0))

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            consumer.assign(
                [
                    TopicPartition(self._settings.topic(topic), partition)
                    for topic in KINDS
                    for partition in range(registry()[topic].partitions)
                ]
            )
            for tp, offset in self._next.items():
                consumer.seek(tp, offset)
            yield consumer
        finally:
            await consumer.stop()

    def _take(self, tp: TopicPartition, records: list[Any]) -> None:
        topic = tp.topic.removeprefix(self._settings.topic_prefix)
        for record in records:
            if topic == "events.collected":
                self.missed += max(0, record.offset - self._next.get(tp, 0))
            place = (topic, tp.partition, record.offset)
            # A record without value is a tick of the gate's truncation.
            if place not in self._seen and record.value is not None:
                self._seen.add(place)
                self.records[topic].append(codec.decode(KINDS[topic], record.value))
            self._next[tp] = max(record.offset + 1, self._next.get(tp, 0))
