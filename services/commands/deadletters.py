"""`candor deadletters`: records that could not be processed, seen and sent again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import click
import msgspec

from deploy.local.stack import Stack
from services.commands.acting import note, people_of, with_reason
from services.commands.output import Moment, columns
from services.kernel.clock import SECOND
from services.kernel.events import DeadLetter
from services.kernel.outcome import CandorError
from services.kernel.tail import shown
from services.replay import Choice, Kept, Outcome, chosen, replay


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose dead letters, handed to the command as ``choice``."""

    @click.option("--reason", help="Only those with this reason.")
    @click.option("--source", help="Only those of this source.")
    @click.option("--step", type=click.Choice(["ingest", "gate", "profile", "segment"]), help="Of this step.")
    @click.option("--since", type=Moment(), help="Dead since then: 2026-01-31T12:00, or an age such as 2h.")
    @click.option("--until", type=Moment(), help="Dead before then, in the same forms.")
    @click.option("--place", help="Only the one at partition:offset.")
    @wraps(command)
    def chosen_by(
        reason: str | None,
        source: str | None,
        step: str | None,
        since: int | None,
        until: int | None,
        place: str | None,
        **others: Any,
    ) -> None:
        command(choice=Choice(reason, source, step, since, until, place), **others)

    return chosen_by


@click.group()
def deadletters() -> None:
    """Records that could not be processed."""


@deadletters.command(name="list")
@filters
def list_dead_letters(choice: Choice) -> None:
    """Show the dead letters that are kept, and how many there are of each reason."""
    letters = [kept for kept, _ in _chosen(choice)]
    rows = [("place", "dead at", "step", "reason", "detail", "source", "origin")]
    for kept in letters:
        value = kept.letter.value
        source, origin = value.source or "-", kept.origin or "-"
        rows.append(
            (kept.place, _time(value.dead_at), value.step, value.reason, value.detail, source, origin)
        )
    columns(rows)
    print()
    columns([(text, str(n)) for text, n in Counter(x.letter.value.reason for x in letters).most_common()])


@deadletters.command(name="show")
@click.argument("place")
@with_reason
def show_dead_letter(place: str, reason: str | None) -> None:
    """Show the dead letter at PLACE, as `list` names it (partition:offset)."""
    for _, record in _chosen(Choice(place=place)):
        letter = shown(record, DeadLetter)
        note(Stack().settings, reason, "deadletters.show", place, identifiers=people_of(letter))
        print(msgspec.json.format(msgspec.json.encode(letter)).decode())
        return
    raise CandorError(f"there is no dead letter at {place}")


@deadletters.command(name="replay")
@filters
@click.option("--all", "everything", is_flag=True, help="All that are kept.")
@click.option("--dry-run", is_flag=True, help="Write nothing; only show what would become of each.")
@click.option("--why", help="Kept in the audit log.")
def replay_dead_letters(choice: Choice, everything: bool, dry_run: bool, why: str | None) -> None:
    """Send dead letters again, once what made them dead is mended.

    They are judged by the consent of today: those of people who opted out are dropped. What was applied
    before is a repeat, so replaying twice does no harm. What is still bad becomes a dead letter again; a
    call that ingest still refuses stays the letter that it is.
    """
    if choice.is_open and not everything:
        raise click.UsageError(
            "choose with --reason, --source, --step, --since, --until or --place, or --all"
        )
    if everything and not choice.is_open:
        raise click.UsageError("--all leaves no choice: give it alone")
    if not dry_run:
        note(Stack().settings, why, "deadletters.replay", choice.described())
    outcome = asyncio.run(replay(Stack().settings, choice, dry_run=dry_run))
    _report(outcome, "could be replayed" if dry_run else "replayed")


def _report(outcome: Outcome, done: str) -> None:
    steps = Counter(kept.letter.value.step for kept in outcome.replayed)
    told = ", ".join(f"{step} {count}" for step, count in sorted(steps.items()))
    print(f"{len(outcome.replayed)} {done}{f': {told}' if told else ''}")
    print(f"{len(outcome.refused)} refused")
    if outcome.refused:
        rows = [("place", "step", "reason", "detail")]
        for kept, why in outcome.refused:
            rows.append((kept.place, kept.letter.value.step, why.reason, why.detail))
        columns(rows)


def _chosen(choice: Choice) -> list[tuple[Kept, Any]]:
    async def run() -> list[tuple[Kept, Any]]:
        return [found async for found in chosen(Stack().settings, choice)]

    return asyncio.run(run())


def _time(moment: int) -> str:
    return datetime.fromtimestamp(moment // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
