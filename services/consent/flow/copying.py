"""A person's copy, put together at the moment of asking and kept nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from services.consent import store
from services.consent.domain.copy import Value, copy, decision_values
from services.consent.domain.ledger import Row
from services.consent.flow.visitors import VISITOR, Proven
from services.kernel.audit import Actor
from services.kernel.clock import Clock
from services.kernel.identifier import Hasher
from services.kernel.internal import Neighbours
from services.kernel.postgres import Pool

PATH = "/v1/privacy/copy"
COPIES_AT_ONCE = 2
"""Of a process: the gate runs beside them."""


async def copy_of(
    pool: Pool,
    neighbours: Neighbours,
    hasher: Hasher,
    proven: Proven,
    person: frozenset[bytes],
    actor: Actor,
    clock: Clock,
) -> dict[str, Any]:
    """Everything that the services hold of the person's identifiers. Raises Outage when one of them does not
    answer: a copy that lacks something would not be one."""
    identifiers = sorted(id.hex() for id in person)
    asked: dict[str, Any] = {"identifiers": identifiers, "whole": proven.how != VISITOR}
    rows, (profile, profiles), ingest = await asyncio.gather(
        decisions_of(pool, person),
        _profile(neighbours, asked, actor),
        neighbours.ask("ingest", PATH, {"identifiers": identifiers}, actor),
    )
    segment = await neighbours.ask("segment", PATH, {"profiles": profiles}, actor) if profiles else None
    services = {
        "profile": profile,
        "segment": segment["values"] if segment else [],
        "consent": decision_values(rows, person, hasher),
        "ingest": ingest["values"] if ingest else [],
    }
    return copy(map(str, proven.identifiers), clock.now(), services)


async def decisions_of(pool: Pool, person: Iterable[bytes]) -> list[Row]:
    """The ledger's rows that name any of the identifiers, in their order."""
    found: dict[int, Row] = {}
    async with pool.acquire() as connection:
        for id in person:
            found.update((row.position, row) for row in await store.rows_of(connection, id))
    return [found[position] for position in sorted(found)]


async def _profile(
    neighbours: Neighbours, asked: dict[str, Any], actor: Actor
) -> tuple[list[Value], list[str]]:
    """All values, page by page, and the profiles of which nothing but the asked for is part."""
    values: list[Value] = []
    profiles: list[str] = []
    after = None
    while True:
        page = await neighbours.ask("profile", PATH, {**asked, "after": after}, actor)
        if page is None:
            return values, profiles
        values += page["values"]
        profiles = page["profiles"]
        after = page["next"]
        if after is None:
            return values, profiles
