"""Time as a dependency: microseconds since the epoch, UTC."""

from __future__ import annotations

import time
from typing import Protocol

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


class Clock(Protocol):
    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1000
