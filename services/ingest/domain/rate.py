"""How much a key may send: a token bucket of events and one of bytes. Pure: time is handed in, in seconds."""

from __future__ import annotations

from typing import NamedTuple

BURST_SECONDS = 10
"""What was not used in so much time may be sent at once."""


class Rate(NamedTuple):
    """What may be sent a second; 0: as much as one likes."""

    events: int
    bytes: int


class Bucket:
    """Holds at most ``rate`` × BURST_SECONDS, at first and when nothing was taken for so long.

    An amount above that may be taken from a full bucket, and is paid for afterwards: else it could never go.
    """

    __slots__ = ("_at", "_level", "_most", "_rate")

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._most = self._level = float(rate * BURST_SECONDS)
        self._at = now

    def wait(self, amount: int, now: float) -> float:
        """Seconds until so much may be taken, 0 when it may be taken now."""
        self._level = min(self._most, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        return max(0.0, min(amount, self._most) - self._level) / self._rate

    def take(self, amount: int) -> None:
        self._level -= amount


class Meter:
    """Both buckets of one key."""

    __slots__ = ("_buckets",)

    def __init__(self, rate: Rate, now: float) -> None:
        self._buckets = {of: Bucket(each, now) for of, each in rate._asdict().items() if each}

    def take(self, events: int, bytes_: int, now: float) -> float:
        """Take both or nothing. Seconds to wait before trying again, 0 when they were taken."""
        if not self._buckets:
            return 0.0
        asked = [(bucket, events if of == "events" else bytes_) for of, bucket in self._buckets.items()]
        wait = max(bucket.wait(amount, now) for bucket, amount in asked)
        if not wait:
            for bucket, amount in asked:
                bucket.take(amount)
        return wait
