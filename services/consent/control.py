"""What time does: grants that end fall to the default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.kernel.schedule import Schedule

LAPSE_SECONDS = 1.0


def plan(schedule: Schedule, lapse: Callable[[], Awaitable[int]]) -> None:
    """Add the consent service's jobs; each is idempotent. ``lapse``: see Decisions.lapse."""
    schedule.every(LAPSE_SECONDS, "consent-lapse", lapse)
