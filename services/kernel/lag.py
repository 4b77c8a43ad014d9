"""How far a consumer is behind, as Kafka says: a fetch that brings nothing tells nothing of Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from services.kernel import metrics
from services.kernel.handler import Batch
from services.kernel.outcome import Outage
from services.kernel.settings import Settings

ANSWER_SECONDS = 2
"""Within so much Kafka says where partitions end: behind a fetch that waits for records it takes half a
second."""


class Lag:
    """The lag of the partitions that are this process's. ``in_hand``: the batch that is being handled."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._assigned: frozenset[TopicPartition] = frozenset()
        self.in_hand: Batch = {}

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        """From now on these; other processes show the lag of the others."""
        for tp in self._assigned:
            metrics.CONSUMER_LAG.remove(*self._label(tp))
        self._assigned = frozenset(partitions)

    async def measure(self, consumer: Any) -> dict[TopicPartition, int]:
        """Ask, and show it. Empty without partitions, or where they change hands meanwhile. Raises Outage."""
        assigned = self._assigned
        if not assigned:
            return {}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                ends = await consumer.end_offsets(assigned)
                lags = {tp: max(0, ends[tp] - await self._next(consumer, tp)) for tp in assigned}
        except IllegalStateError:  # a partition was taken away
            return {}
        except (KafkaError, TimeoutError) as error:
            raise Outage(f"Kafka does not say where topics end: {type(error).__name__}") from error
        if assigned is not self._assigned:
            return {}
        for tp, lag in lags.items():
            metrics.CONSUMER_LAG.labels(*self._label(tp)).set(lag)
        return lags

    async def _next(self, consumer: Any, tp: TopicPartition) -> int:
        """The offset from which on nothing is handled. Between batches that is the position, which is behind
        control records as well."""
        records = self.in_hand.get(tp)
        position: int = records[0].offset if records else await consumer.position(tp)
        return position

    def _label(self, tp: TopicPartition) -> tuple[str, str]:
        return tp.topic.removeprefix(self._settings.topic_prefix), str(tp.partition)
