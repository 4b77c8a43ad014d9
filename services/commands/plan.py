"""`candor plan`: the tracking plan checked, and a first one guessed from what was seen."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
import genson
import yaml

from deploy.local.stack import Stack
from services.commands.acting import note, with_reason
from services.ingest.domain.plan import described, planned_name, value_of
from services.ingest.plans import load
from services.kernel import codec
from services.kernel.events import Event
from services.kernel.outcome import BadRecord
from services.kernel.tail import held

SEEN = "events.permitted"


@click.group()
def plan() -> None:
    """The tracking plan: what events should hold."""


@plan.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seen", type=click.IntRange(min=1), help="Also judge so many events of the last days.")
@with_reason
def check(file: Path, seen: int | None, reason: str | None) -> None:
    """Say whether FILE is a plan, and what it would have found. Exit code 1 if anything is wrong."""
    read = load(file)
    print(f"{file.name} is a tracking plan")
    if seen is None:
        return
    note(Stack().settings, reason, "plan.check", f"the first {seen} events")
    found: Counter[tuple[str, str, str, str]] = Counter()
    count = 0

    def judge(event: Event) -> None:
        nonlocal count
        count += 1
        violation = read.judge(event)
        if violation is not None:
            name = planned_name(event.type, event.name)
            found[event.source, name, violation.detail, violation.mode] += 1

    asyncio.run(_each(seen, judge))
    print(f"{count} events seen, {found.total()} depart from it")
    for (source, name, detail, mode), number in found.most_common():
        print(f"  {number:>8}  {source}  {name}  {detail}  ({mode})")
    if found:
        sys.exit(1)


@plan.command()
@click.option("--source", help="Only of this source.")
@click.option("--max", "most", type=click.IntRange(min=1), default=100_000, show_default=True)
@with_reason
def guess(source: str | None, most: int, reason: str | None) -> None:
    """Print a first plan, made from events of the last days: types, and what stood in every event."""
    note(Stack().settings, reason, "plan.guess", f"the first {most} events of {source or 'all sources'}")
    builders: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(genson.SchemaBuilder))

    def add(event: Event) -> None:
        if source in (None, event.source):
            properties = value_of(event.payload, described(event.type))
            builders[event.source][planned_name(event.type, event.name)].add_object(properties)

    asyncio.run(_each(most, add))
    sources = {
        name: {
            "mode": "report",
            "unplanned": "report",
            "events": {event: {"schema": _schema(builder)} for event, builder in sorted(events.items())},
        }
        for name, events in sorted(builders.items())
    }
    print(yaml.safe_dump({"version": 1, "sources": sources}, sort_keys=False, allow_unicode=True), end="")


def _schema(builder: Any) -> dict[str, Any]:
    schema: dict[str, Any] = builder.to_schema()
    schema.pop("$schema", None)
    return schema


async def _each(most: int, take: Callable[[Event], None]) -> None:
    """The oldest events that are kept of those that the gate let through, at most so many."""
    count = 0
    async with aclosing(held(Stack().settings, SEEN)) as records:
        async for record in records:
            try:
                take(codec.decode(Event, record.value))
            except BadRecord:
                continue
            count += 1
            if count == most:
                return
