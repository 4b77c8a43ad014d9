"""Promise 7 checked on what is stored: memberships against rules, counts and the change log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.kernel.codec import decode
from services.kernel.events import GoldenRecord
from services.kernel.postgres import Connection, Pool
from services.kernel.predicate import NEVER
from services.segment.domain.definition import Catalog
from services.segment.domain.judging import Person, memberships_of
from services.segment.store.catalog import CatalogStore
from services.segment.store.statements import SQL

PAGE = 2000
EXAMPLES = 20


@dataclass(slots=True)
class Report:
    """What was compared, and what does not agree: the first few, one line each, with profile ids only.

    ``pending`` profiles are left out: they are due or not yet judged by the newest catalog.
    """

    profiles: int = 0
    pending: int = 0
    memberships: int = 0
    faults: int = 0
    examples: list[str] = field(default_factory=list)

    def fault(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.faults += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(line)


async def verify(pool: Pool, now: int) -> Report:
    """Judge every stored golden record from scratch and compare with the memberships as they stand; check
    that the change log has no gap and ends where the memberships stand, and the counts.

    Each part sees one moment of the database. Takes about 100 µs a profile.
    """
    report = Report()
    catalogs = CatalogStore(pool)
    last: bytes | None = b""
    while last is not None:
        # A page at a time: transactions are bounded in time.
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            last = await _page(connection, await catalogs.catalog(connection), last, now, report)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        await _log(connection, report)
    return report


async def _page(
    connection: Connection, catalog: Catalog, after: bytes, now: int, report: Report
) -> bytes | None:
    """Compare the profiles after that one; the last of them, None when there are no more."""
    rows = await connection.fetch(SQL.records_after, after, PAGE)
    members: dict[bytes, set[str]] = {row["profile_id"]: set() for row in rows}
    for row in await connection.fetch(SQL.standings, list(members)):
        if row["member"]:
            members[row["profile_id"]].add(row["segment_key"])
    for row in rows:
        report.profiles += 1
        due = NEVER if row["due_at"] is None else row["due_at"]
        if due <= now or row["catalog"] < catalog.version:
            report.pending += 1
            continue
        person = Person.of(decode(GoldenRecord, row["value"])) if row["value"] is not None else None
        expected, _ = memberships_of(catalog, person, now)
        found = members[row["profile_id"]]
        report.memberships += len(expected)
        profile = row["profile_id"].hex()
        report.fault(f"profile {profile} is missing in {key}" for key in sorted(expected - found))
        report.fault(f"profile {profile} should not be in {key}" for key in sorted(found - expected))
    return rows[-1]["profile_id"] if len(rows) == PAGE else None


async def _log(connection: Connection, report: Report) -> None:
    rows = await connection.fetch(SQL.sequence_faults)
    report.fault(
        f"profile {row['profile_id']}: transitions of {row['segment_key']} have a gap or a wrong end"
        for row in rows
    )
    rows = await connection.fetch(SQL.position_faults)
    report.fault(f"partition {row['partition']}: positions have a gap or a wrong end" for row in rows)
    rows = await connection.fetch(SQL.count_faults)
    report.fault(f"{row['segment_key']} is counted wrong in partition {row['partition']}" for row in rows)
