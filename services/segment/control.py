"""What happens at intervals: judging what is due, filling changed segments, forgetting old transitions."""

from __future__ import annotations

from services.kernel import metrics
from services.kernel.clock import DAY, Clock
from services.kernel.schedule import Schedule
from services.segment.flow.judging import Judging
from services.segment.store.reading import Reader
from services.segment.store.writing import Writer

KEPT = 30 * DAY
"""How long the stream can be resumed: as long as segments.transitions is kept."""
FORGOTTEN = 2_000
"""Transitions of a partition that are deleted at a time."""


def plan(schedule: Schedule, judging: Judging, writer: Writer, reader: Reader, clock: Clock) -> None:
    """Put the service's jobs on the schedule."""

    async def forget() -> None:
        while await reader.forget(clock.now() - KEPT, FORGOTTEN):
            pass

    async def count() -> None:
        for key, members in (await reader.counts(list(writer.epochs))).items():
            metrics.MEMBERS.labels(key).set(members)

    schedule.every(1, "judge again", judging.revisit)
    schedule.every(5, "count members", count)
    schedule.every(600, "forget old transitions", forget)
