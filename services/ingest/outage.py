"""Readiness through outages of Kafka: red from the first event that could not be made durable, until all
that still waits has been acknowledged."""

from __future__ import annotations

import asyncio
import logging

from services.kernel import metrics
from services.kernel.health import Health
from services.kernel.outcome import Outage
from services.kernel.produce import BatchProducer

PART = "kafka"
_EVERY = 0.5

log = logging.getLogger(__name__)


class Outages:
    """Told of outages by those who meet them; finds out by itself when they are over."""

    def __init__(self, producer: BatchProducer, health: Health) -> None:
        self._producer = producer
        self._health = health
        self._met = asyncio.Event()

    def met(self, outage: Outage) -> None:
        """A request could not be made durable."""
        if not self._met.is_set():
            log.warning("events can not be made durable", extra={"why": str(outage)})
        self._met.set()
        self._health.red(PART, str(outage))

    async def watch(self) -> None:
        """Turn readiness green again; runs until cancelled. The producer goes on trying what was handed to
        it, so once nothing is under way Kafka has answered."""
        seconds = metrics.OUTAGE.labels("kafka")
        while True:
            await self._met.wait()
            while self._producer.bytes_under_way:
                await asyncio.sleep(_EVERY)
                seconds.inc(_EVERY)
            self._met.clear()
            self._health.green(PART)
            log.info("events can be made durable again")
