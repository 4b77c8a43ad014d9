"""Dead letters: records that can not be processed, kept with their reason in the topic ``deadletters``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from services.kernel import codec, headers, metrics
from services.kernel.clock import Clock
from services.kernel.events import DeadLetter
from services.kernel.message import Message
from services.kernel.outcome import Dead
from services.kernel.produce import BatchProducer

TOPIC = "deadletters"
PLAN_REPORTED = "plan_reported"
"""Reason of ingest's letters about events that it accepted all the same."""
MAX_PAYLOAD = 256_000
"""Bytes of a dead record that are kept."""


class Letter(NamedTuple):
    """A dead letter with the key and headers of its record."""

    key: bytes | None
    value: DeadLetter
    headers: headers.Headers


class DeadLetters:
    """Writes the dead letters of one stage. ``sent`` counts them since the start of the process."""

    def __init__(self, producer: BatchProducer, clock: Clock, stage: str) -> None:
        self._producer = producer
        self._clock = clock
        self._stage = stage
        self.sent = 0

    async def send(self, dead: Sequence[tuple[Any, Dead]]) -> None:
        """Keep records read from a topic (aiokafka's ConsumerRecord) with key and headers, so that they can
        be replayed as they were. Acknowledged before it returns.

        Ingest masked cards before these bytes were first stored, so they are clean.
        """
        await self.send_messages([self._letter(record, why) for record, why in dead])

    async def send_messages(self, dead: Sequence[Letter]) -> None:
        """Keep dead letters made by the caller, whose payload must be clean."""
        if not dead:
            return
        await self._producer.produce(
            TOPIC, None, [Message(key, codec.encode(value), named) for key, value, named in dead]
        )
        self.sent += len(dead)
        for letter in dead:
            metrics.DEAD_LETTERS.labels(self._stage, letter.value.reason).inc()

    def _letter(self, record: Any, why: Dead) -> Letter:
        source = headers.value(record.headers, headers.SOURCE)
        value = DeadLetter(
            reason=why.reason,
            step=self._stage,
            detail=why.detail,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            source=source.decode("utf-8", "replace") if source else None,
            dead_at=self._clock.now(),
            payload=(record.value or b"")[:MAX_PAYLOAD],
        )
        return Letter(record.key, value, record.headers)
