"""Readiness through outages of Kafka: red from the first event that could not be made durable, until one
handed in later has been acknowledged, or nothing waits any more."""

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
    """Told of outages, and of what works, by those who meet them; without requests it finds out by itself
    when they are over. ``count``: outages met so far."""

    def __init__(self, producer: BatchProducer, health: Health) -> None:
        self._producer = producer
        self._health = health
        self._met = asyncio.Event()
        self.count = 0

    def met(self, outage: Outage) -> None:
        """A request could not be made durable."""
        if not self._met.is_set():
            log.warning("events can not be made durable", extra={"why": str(outage)})
        self.count += 1
        self._met.set()
        self._health.red(PART, str(outage))

    def worked(self, count: int) -> None:
        """A request was made durable that was handed in when ``count`` outages had been met."""
        if count == self.count and self._met.is_set():
            self._over()

    async def watch(self) -> None:
        """Turn readiness green when no request comes to show that it may; runs until cancelled. The producer
        goes on trying what was handed to it, so once nothing is under way Kafka has answered."""
        seconds = metrics.OUTAGE.labels("kafka")
        while True:
            await self._met.wait()
            while self._met.is_set() and self._producer.bytes_under_way:
                await asyncio.sleep(_EVERY)
                seconds.inc(_EVERY)
            if self._met.is_set():
                self._over()

    def _over(self) -> None:
        self._met.clear()
        self._health.green(PART)
        log.info("events can be made durable again")
