"""Promise 5 checked on what is stored: golden records folded anew from every kept event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.kernel import codec
from services.kernel.events import Event
from services.kernel.identifier import Hasher
from services.kernel.postgres import Connection, Pool
from services.profile import store
from services.profile.domain.forest import Forest
from services.profile.domain.golden import Member, fold, place, profiles
from services.profile.domain.observation import observe

PAGE = 1000
EXAMPLES = 20


@dataclass(slots=True)
class Report:
    """What was compared and what differs: the first few, one line each, with profile ids only."""

    events: int = 0
    profiles: int = 0
    identifiers: int = 0
    faults: int = 0
    examples: list[str] = field(default_factory=list)

    def fault(self, line: str) -> None:
        self.faults += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(line)


async def verify(pool: Pool, hasher: Hasher) -> Report:
    """Apply all kept events to an empty forest and compare its golden records, byte by byte, with those
    folded from the stored facets. Purposes are left out: they are judged anew at every publication.

    Sees one moment of the database, whatever is applied meanwhile. Holds all profiles in memory.
    """
    report = Report()
    async with pool.acquire() as connection:
        await connection.execute("SET transaction_timeout = 0")
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                expected = await _from_events(connection, hasher, report)
                await _compare(connection, expected, report)
        finally:
            await connection.execute("RESET transaction_timeout")
    return report


async def _from_events(connection: Connection, hasher: Hasher, report: Report) -> dict[bytes, bytes]:
    """Golden records by root, from every kept event."""
    forest = Forest()
    async for row in connection.cursor(store.QUERIES.all_events, prefetch=PAGE):
        forest.apply(observe(codec.decode(Event, row["record"]), hasher))
        report.events += 1
        if report.events % PAGE == 0:
            await asyncio.sleep(0)
    report.identifiers = len(forest.nodes)
    return {root: _bytes(root, members) for root, members in profiles(forest.nodes.values()).items()}


async def _compare(connection: Connection, expected: dict[bytes, bytes], report: Report) -> None:
    last = b""
    while True:
        rows = await connection.fetch(store.QUERIES.roots_after, last, PAGE)
        roots = [row["id"] for row in rows]
        _, found = await store.read_profiles(connection, roots)
        for profile in found:
            report.profiles += 1
            wanted = expected.pop(profile.root, None)
            if wanted is None:
                report.fault(f"profile {profile.root.hex()} has no events")
            elif wanted != _bytes(profile.root, profile.members):
                report.fault(f"profile {profile.root.hex()} differs from its events")
        if len(rows) < PAGE:
            break
        last = roots[-1]
    for root in expected:
        report.fault(f"profile {root.hex()} is missing")


def _bytes(root: bytes, members: Sequence[Member]) -> bytes:
    """The golden record, and the place that its purposes are judged by."""
    return codec.encode(fold(root, members, [], 0)) + (place(members) or "").encode()
