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
        level = self._level
        if now > self._at:
            level += (now - self._at) * self._rate
            self._level = level = level if level < self._most else self._most
        self._at = now
        if amount <= level:
            return 0.0
        return max(0.0, min(amount, self._most) - level) / self._rate

    def take(self, amount: int) -> None:
        self._level -= amount


class Meter:
    """Both buckets of one key. Every request is metered: written out, it takes a third of the time of a loop
    over the two."""

    __slots__ = ("_bytes", "_events")

    def __init__(self, rate: Rate, now: float) -> None:
        self._events = Bucket(rate.events, now) if rate.events else None
        self._bytes = Bucket(rate.bytes, now) if rate.bytes else None

    def take(self, events: int, bytes_: int, now: float) -> float:
        """Take both or nothing. Seconds to wait before trying again, 0 when they were taken."""
        of_events, of_bytes = self._events, self._bytes
        wait = 0.0 if of_events is None else of_events.wait(events, now)
        if of_bytes is not None:
            wait = max(wait, of_bytes.wait(bytes_, now))
        if wait:
            return wait
        if of_events is not None:
            of_events.take(events)
        if of_bytes is not None:
            of_bytes.take(bytes_)
        return 0.0
