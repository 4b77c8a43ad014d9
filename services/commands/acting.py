"""Telling the audit log of what a command is about to do or show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click

from services.kernel.audit import Exposed, command_line
from services.kernel.identifier import HASH_SIZE
from services.kernel.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def with_reason(command: F) -> F:
    """The option ``--reason`` of commands that the audit log is told of."""
    return click.option("--reason", help="Why; kept in the audit log.")(command)


def note(
    settings: Settings,
    reason: str | None,
    action: str,
    target: str,
    *,
    identifiers: Collection[bytes] = (),
) -> None:
    """Make an act of this command's user durable. Raises Outage: then don't do it."""

    async def run() -> None:
        async with command_line(settings, reason) as (audit, actor):
            await audit.note(
                actor,
                action,
                target=target,
                identifiers=identifiers,
                people=1 if identifiers else 0,
            )

    asyncio.run(run())


@asynccontextmanager
async def showing(settings: Settings, reason: str | None, action: str, target: str) -> AsyncIterator[Exposed]:
    """Whom a command shows as it goes; its beginning is durable already. Raises Outage."""
    async with command_line(settings, reason) as (audit, actor):
        exposed = Exposed(audit, actor, action, target)
        await exposed.begin()
        try:
            yield exposed
        finally:
            await exposed.log()


def people_of(record: dict[str, Any]) -> set[bytes]:
    """The identifier hashes and profile ids by which a record, as `tail` shows it, names people."""
    value = record["value"] or {}
    named = [record["key"], value.get("profile_id"), *record["headers"].get("ids", ())]
    return {id for id in map(_id, named) if id is not None}


def _id(text: str | None) -> bytes | None:
    try:
        id = bytes.fromhex(text or "")
    except ValueError:
        return None
    return id if len(id) == HASH_SIZE else None
