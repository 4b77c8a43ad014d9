"""How commands show what they found, and read what they were given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


class Span(click.ParamType):
    """A length of time such as 30s, 15m, 24h or 7d."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"(\d{1,9})([smhd])", value)
        if found is None:
            self.fail("expected a length of time such as 30s, 15m, 24h or 7d", param, ctx)
        return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


class Time(click.ParamType):
    """A time in ISO 8601, UTC where it says nothing else."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail("expected a time such as 2026-05-01 or 2026-05-01T12:00:00+02:00", param, ctx)
        return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
