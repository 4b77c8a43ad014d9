"""Rows of the report: one JSON object a line, and the table for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

TARGETS: dict[str, tuple[float, float]] = {
    "ingest_batch": (0.8, 1.2),
    "ingest_single": (0.6, 0.8),
    "gate": (0.4, 0.5),
    "profile": (0.15, 0.3),
    "end_to_end": (3, 6),
    "freshness": (300, 150),
    "memory": (200, 120),
}
"""Floor and reach by row: of the ratio, which should be higher; of freshness and memory of the value itself,
which should be lower."""


@dataclass(frozen=True, slots=True)
class Row:
    """A figure and what it is compared with. `floor` must be kept, `reach` is aimed at, see TARGETS. `detail`
    says under which conditions and what limited it: CPU microseconds an event by process, for instance."""

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    floor: float | None
    reach: float | None
    detail: dict[str, Any] = field(default_factory=dict)


def compared(name: str, value: float, unit: str, baseline: float, **detail: Any) -> Row:
    """A row with a baseline measured in the same run."""
    ratio = round(value / baseline, 3)
    return Row(name, _rounded(value), unit, _rounded(baseline), ratio, *_targets(name), detail)


def alone(name: str, value: float, unit: str, **detail: Any) -> Row:
    """A row that stands against a bound, not against a baseline."""
    return Row(name, _rounded(value), unit, None, None, *_targets(name), detail)


def _targets(name: str) -> tuple[float | None, float | None]:
    return TARGETS.get(name, (None, None))


def print_row(row: Row) -> None:
    print(json.dumps(asdict(row)), flush=True)


def print_table(rows: Sequence[Row]) -> None:
    """Everything at a glance, on standard error, so that standard output stays JSON lines."""
    lines = [("row", "value", "", "baseline", "ratio", "floor", "reach")]
    lines += [
        (
            row.name,
            f"{row.value:,}",
            row.unit,
            "" if row.baseline is None else f"{row.baseline:,}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.floor is None else f"{row.floor:g}",
            "" if row.reach is None else f"{row.reach:g}",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        name, *cells = (f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join((name.lstrip().ljust(widths[0]), *cells)), file=sys.stderr)


def _rounded(value: float) -> float:
    return round(value) if value >= 1000 else round(value, 1)
