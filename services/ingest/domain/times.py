"""When an event happened, by the client's clock corrected with ours. Microseconds since the epoch, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

DAY = 86_400_000_000
EARLIEST = 631_152_000_000_000
"""1990-01-01: anything before is a broken clock or a wrong unit."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SMALLEST_IN_MILLISECONDS = 100_000_000_000
"""Numbers from here on are milliseconds (1973 in those, the year 5138 in seconds)."""
_LARGEST_NUMBER = 1e17


def microseconds(value: str | int | float | None) -> int | None:
    """A client's time: ISO 8601 (UTC where it names no zone) or a number of seconds or milliseconds since
    the epoch. None when it can't be read."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MICROSECOND
    if not abs(value) < _LARGEST_NUMBER:
        return None
    return int(value * 1000) if abs(value) >= _SMALLEST_IN_MILLISECONDS else int(value * 1_000_000)


def iso(moment: int) -> str | None:
    """A time in ISO 8601, None where that can't be written."""
    try:
        return (_EPOCH + moment * _MICROSECOND).isoformat()
    except OverflowError:
        return None


def corrected(original: str | int | float | None, sent_at: int | None, received_at: int) -> tuple[int, bool]:
    """The time of an event and whether it had to be bounded.

    received_at - (sent_at - original), which takes the client's wrong clock out (Segment, spec/common,
    "Timestamps"). Without ``sent_at`` the client's value stands; without any value it is ``received_at``.
    Bounded is what can't be read or lies after ``received_at``, which becomes ``received_at``, and what lies
    before 1990, which becomes 1990-01-01.
    """
    if original is None:
        return received_at, False
    happened = microseconds(original)
    if happened is None:
        return received_at, True
    if sent_at is not None:
        happened += received_at - sent_at
    if happened > received_at:
        return received_at, True
    if happened < EARLIEST:
        return EARLIEST, True
    return happened, False
