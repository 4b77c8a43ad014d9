"""What an erasure does to the profile service's tables. Callers own the transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from services.kernel.postgres import TRANSACTION_SECONDS, Connection, Pool
from services.profile.domain.erasing import Sighting
from services.profile.store import QUERIES, Kept


async def outlast(pool: Pool) -> None:
    """Return once every transaction of this service that has begun by now has ended: what they judged before
    is written, and can be found. The server ends them in time; verification alone, which writes nothing,
    may take longer."""
    async with pool.acquire() as connection:
        now = await connection.fetchval("SELECT clock_timestamp()")
        for _ in range(100 * (TRANSACTION_SECONDS + 1)):
            if not await connection.fetchval(QUERIES.older_transactions, now):
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def unhurried(pool: Pool, seconds: int) -> AsyncIterator[Connection]:
    """A connection whose transactions the server bounds to so long."""
    async with pool.acquire() as connection:
        await connection.execute(f"SET transaction_timeout = '{seconds:d}s'")
        try:
            yield connection
        finally:
            await connection.execute("RESET transaction_timeout")


async def evidence_of(connection: Connection, children: Iterable[bytes]) -> list[Sighting]:
    """All evidence of these children."""
    return [Sighting(*row) for row in await connection.fetch(QUERIES.evidence_of, sorted(children))]


async def delete_events(connection: Connection, facets: Iterable[bytes]) -> list[Kept]:
    """Delete all events of these facets, and return them."""
    return [Kept(*row) for row in await connection.fetch(QUERIES.delete_events, sorted(facets))]


async def delete_facets(connection: Connection, ids: Iterable[bytes], children: Iterable[bytes]) -> None:
    """Delete facets, when their grants end, and the evidence that they had for each other or for
    ``children``."""
    own = sorted(ids)
    await connection.execute(QUERIES.delete_facets, own)
    await connection.execute(QUERIES.forget_expiries, own)
    await connection.execute(QUERIES.delete_evidence, sorted({*own, *children}), own)


async def count_gone(connection: Connection, profiles: int) -> None:
    """There are so many profiles fewer."""
    await connection.execute(QUERIES.count_profiles_gone, -profiles)


async def mark_again(connection: Connection, ids: Sequence[bytes], at: int) -> None:
    """Have the tombstones of erased facets published once more at that time (µs)."""
    if ids:
        await connection.execute(QUERIES.note_erased, ids, at)


async def mark_erased_again(connection: Connection, now: int) -> None:
    """Mark the erased facets whose time has come."""
    await connection.execute(QUERIES.mark_erased_again, now)
