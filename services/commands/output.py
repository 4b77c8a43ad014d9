"""How commands show what they found, and read what they were given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_SPAN = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=36_500)
"""From any year that this is used in, it leads to one that can be written."""
_EPOCH = datetime.fromtimestamp(0, UTC)


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


class Span(click.ParamType):
    """A length of time such as 30s, 15m, 24h or 7d, 100 years at most."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        span = _span(value)
        if span is None:
            self.fail("expected a length of time such as 30s, 15m, 24h or 7d", param, ctx)
        return span


class Time(click.ParamType):
    """A time in ISO 8601, UTC where it says nothing else."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        time = _time(value)
        if time is None:
            self.fail("expected a time such as 2026-05-01 or 2026-05-01T12:00:00+02:00", param, ctx)
        return time


class Moment(click.ParamType):
    """A time as ``Time`` reads it, or how long ago it was as ``Span`` does; µs since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        age = _span(value)
        time = _time(value) if age is None else datetime.now(UTC) - age
        if time is None:
            self.fail("expected a time such as 2026-05-01T12:00 or an age such as 30m, 2h or 7d", param, ctx)
        return (time - _EPOCH) // timedelta(microseconds=1)


def _span(text: str) -> timedelta | None:
    """None for what is no span. Raises click.BadParameter for one that is too long."""
    found = _SPAN.fullmatch(text)
    if found is None:
        return None
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST.total_seconds():
        raise click.BadParameter(f"expected {_LONGEST.days}d (100 years) at most")
    return timedelta(seconds=seconds)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
