"""A gate as a process of its own: ``python -m tests.support.gate_process HOME KAFKA PREFIX [pause]``.

With ``pause`` it stops itself (SIGSTOP) once, at the worst moment: between judging and writing a batch.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.consent.flow.gate import COLLECTED, GROUP, STAGE, Gate
from services.consent.flow.truncation import Truncation
from services.kernel.clock import SystemClock
from services.kernel.consume import BatchLoop
from services.kernel.deadletter import DeadLetters
from services.kernel.health import Health
from services.kernel.message import Message
from services.kernel.permission import Judge
from services.kernel.policy import Policies
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from tests.support.gate import settings_of, view_of

SESSION_SECONDS = 6
"""The shortest that a broker allows by default."""


class Pausing(BatchProducer):
    """Stops the process before the first records are forwarded."""

    paused = False

    async def forward(self, topic: str, parts: Mapping[int, tuple[Sequence[Message], int]]) -> None:
        if parts and not self.paused:
            self.paused = True
            os.kill(os.getpid(), signal.SIGSTOP)
        await super().forward(topic, parts)


async def main(settings: Settings, kind: type[BatchProducer]) -> None:
    clock, health = SystemClock(), Health("consent")
    producer = kind(settings, "gate")
    await producer.start()
    async with view_of(settings) as view:
        gate = Gate(
            view,
            Judge(Policies(settings.policy, clock)),
            settings.hasher(),
            producer,
            DeadLetters(producer, clock, STAGE),
            Truncation(settings, GROUP, producer),
            clock,
        )
        await BatchLoop(
            settings,
            group=GROUP,
            topics=[COLLECTED],
            handler=gate,
            stage=STAGE,
            health=health,
            session_seconds=SESSION_SECONDS,
        ).run()


if __name__ == "__main__":
    home, kafka, prefix, *pause = sys.argv[1:]
    asyncio.run(main(settings_of(Path(home), kafka, prefix), Pausing if pause else BatchProducer))
