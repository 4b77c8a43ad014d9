"""A clock that stands still until it is told otherwise."""

from services.kernel.clock import DAY


class ManualClock:
    """Microseconds since the epoch, UTC; ``time`` may be set."""

    def __init__(self, time: int = 20_000 * DAY) -> None:
        self.time = time

    def now(self) -> int:
        return self.time

    def advance(self, microseconds: int) -> None:
        self.time += microseconds
