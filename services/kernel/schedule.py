"""Jobs at intervals: a Faust app inside the service's own loop, and a sweep for what Faust leaves undone.

Faust runs here without Kafka: its timers need no broker, and a consumer without topics would crash the app.
A job that raises crashes a Faust app for good (tried). So outages are caught here, any other error turns
readiness red, and every job must be idempotent: the sweep may run it as well. See docs/adr/0002.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import faust

from services.kernel.health import Health
from services.kernel.outcome import Outage
from services.kernel.postgres import OUTAGES, RETRY
from services.kernel.settings import Settings

WATCH_SECONDS = 0.5
OVERDUE_INTERVALS = 3
_OUTAGES: tuple[type[BaseException], ...] = (Outage, *OUTAGES, *RETRY)

log = logging.getLogger(__name__)


class Schedule:
    """The scheduled jobs of one service, while :meth:`run` runs.

    ``app`` is the Faust app; it is red in ``health`` once crashed, and its jobs go on by the sweep.
    """

    def __init__(self, settings: Settings, service: str, health: Health) -> None:
        folder = settings.home / "faust" / service
        folder.mkdir(parents=True, exist_ok=True)
        self.app: Any = _App(
            f"{settings.topic_prefix}candor-{service}",
            broker=f"kafka://{settings.kafka}",
            datadir=folder,
            store="memory://",
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            autodiscover=False,
        )
        self.app.boot_strategy.enable_kafka = False
        self._health = health
        self._jobs: list[_Job] = []
        health.red("schedule", "starting")

    def every(self, seconds: float, name: str, function: Callable[[], Awaitable[object]]) -> None:
        """Run the function every so many seconds, never twice at once. Call before :meth:`run`.

        ``function`` must be idempotent. Its outages are tried again at the next turn.
        """
        job = _Job(name, seconds, function, self._health)
        self._jobs.append(job)
        self.app.timer(seconds, name=name)(job.run)

    async def run(self) -> None:
        """Run all jobs until cancelled."""
        await self.app.start()
        self._health.green("schedule")
        for job in self._jobs:
            job.ran_at = time.monotonic()
        try:
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                if self.app.should_stop:
                    why = type(self.app.crash_reason).__name__ if self.app.crashed else "stopped"
                    self._health.red("schedule", f"Faust: {why}")
                await self._sweep()
        finally:
            await self.app.stop()

    async def _sweep(self) -> None:
        for job in self._jobs:
            if job.overdue():
                try:
                    await job.run()
                except Exception as error:  # a bug in one job must not keep the others from their turn
                    self._health.red(f"job {job.name}", type(error).__name__)
                    log.exception("a scheduled job failed", extra={"job": job.name})


class _App(faust.App):
    async def on_start(self) -> None:
        """Without Kafka: the base class makes a consumer here, whose thread leaves an event loop unclosed."""
        self.finalize()


class _Job:
    def __init__(
        self, name: str, interval: float, function: Callable[[], Awaitable[object]], health: Health
    ) -> None:
        self.name = name
        self.ran_at = time.monotonic()
        self._interval = interval
        self._function = function
        self._health = health
        self._running = asyncio.Lock()

    def overdue(self) -> bool:
        overdue_after = max(OVERDUE_INTERVALS * self._interval, 2 * WATCH_SECONDS)
        return not self._running.locked() and time.monotonic() - self.ran_at > overdue_after

    async def run(self) -> None:
        async with self._running:
            try:
                await self._function()
                self._health.green(f"job {self.name}")
            except _OUTAGES as error:
                self._health.red(f"job {self.name}", type(error).__name__)
                log.warning("outage", extra={"job": self.name, "why": type(error).__name__})
            finally:
                self.ran_at = time.monotonic()
