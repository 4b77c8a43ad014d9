"""Rows of the report: one JSON object a line, and the table for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A figure and what it is compared with. `detail` says under which conditions and what limited it: CPU
    microseconds an event by process, for instance."""

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    detail: dict[str, Any] = field(default_factory=dict)


def compared(name: str, value: float, unit: str, baseline: float, **detail: Any) -> Row:
    """A row with a baseline measured in the same run."""
    return Row(name, _rounded(value), unit, _rounded(baseline), round(value / baseline, 3), detail)


def alone(name: str, value: float, unit: str, **detail: Any) -> Row:
    """A row that stands against a bound, not against a baseline."""
    return Row(name, _rounded(value), unit, None, None, detail)


def print_row(row: Row) -> None:
    print(json.dumps(asdict(row)), flush=True)


def print_table(rows: Sequence[Row]) -> None:
    """Everything at a glance, on standard error, so that standard output stays JSON lines."""
    lines = [("row", "value", "", "baseline", "ratio")]
    lines += [
        (
            row.name,
            f"{row.value:,}",
            row.unit,
            "" if row.baseline is None else f"{row.baseline:,}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        name, *cells = (f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join((name.lstrip().ljust(widths[0]), *cells)), file=sys.stderr)


def _rounded(value: float) -> float:
    return round(value) if value >= 1000 else round(value, 1)
