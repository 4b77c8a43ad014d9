"""`candor breach`: who read or did what since a time, from the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import click
import msgspec

from deploy.local.stack import Stack
from services.commands.acting import note, with_reason
from services.commands.output import Moment, columns
from services.consent.domain.audit import Act, Exposure
from services.consent.flow.audit import acts_between
from services.kernel.clock import SECOND, SystemClock
from services.kernel.postgres import connect
from services.kernel.settings import Settings


@click.command()
@click.option("--since", type=Moment(), required=True, help="2026-05-01T12:00, or an age such as 7d.")
@click.option("--until", type=Moment(), help="Up to, and not including, in the same forms. Default: now.")
@click.option("--json", "as_json", is_flag=True, help="Every act, one JSON object a line.")
@with_reason
def breach(since: int, until: int | None, as_json: bool, reason: str | None) -> None:
    """List who read what of people, and who administered what, since a time.

    By key or user and action: how many acts, of how many people at most, and when. `candor verify audit`
    says whether the log is whole.
    """
    settings = Stack().settings
    until = SystemClock().now() if until is None else until
    note(settings, reason, "breach.list", f"{_time(since)} to {_time(until)}")
    asyncio.run(_list(settings, since, until, as_json))


async def _list(settings: Settings, since: int, until: int, as_json: bool) -> None:
    found: dict[tuple[str, ...], Exposure] = {}
    async for act in _acts(settings, since, until):
        if as_json:
            print(msgspec.json.encode({**msgspec.structs.asdict(act), "at": _time(act.at)}).decode())
            continue
        group = (act.key_id or "-", act.actor, act.service, act.action, act.outcome)
        found.setdefault(group, Exposure()).add(act)
    if not as_json:
        titles = "key who service action outcome acts people first last"
        rows = [tuple(titles.split())]
        for who, shown in sorted(found.items()):
            counts = (str(shown.acts), str(shown.people), _time(shown.first), _time(shown.last))
            rows.append((*who, *counts))
        columns(rows)


async def _acts(settings: Settings, since: int, until: int) -> AsyncIterator[Act]:
    async with await connect(settings, "consent", size=1) as pool:
        async for act in acts_between(pool, since, until):
            yield act


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
