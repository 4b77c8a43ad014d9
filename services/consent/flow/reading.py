"""What was decided and what holds: now as it is published, at an earlier time as the ledger gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.consent import store
from services.consent.domain import ledger, rule
from services.consent.domain.ledger import Head, Row
from services.kernel import codec
from services.kernel.events import ConsentState
from services.kernel.postgres import Pool

ROWS_AT_ONCE = 1000
NOTHING = ConsentState(0, [], [], False, 0)


async def in_force(pool: Pool, identifier: bytes) -> ConsentState:
    """The identifier's effective state; version 0 when nothing was ever decided for it."""
    async with pool.acquire() as connection:
        stored = (await store.states(connection, [identifier])).get(identifier)
    return NOTHING if stored is None or stored.state is None else codec.decode(ConsentState, stored.state)


async def in_force_at(pool: Pool, identifier: bytes, at: int) -> ConsentState:
    """The state by the decisions and links up to that time; version 0."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        linked = await store.closure(connection, [identifier], at)
        links = await store.links_of(connection, linked, at)
        decisions = await store.decisions_of(connection, linked)
    until = [decision for decision in decisions if decision.decided_at <= at]
    return rule.effective([identifier], until, links, (), at)[identifier]


async def ledger_of(pool: Pool, identifier: bytes) -> list[Row]:
    """The decisions that name the identifier, in their order."""
    async with pool.acquire() as connection:
        return await store.rows_of(connection, identifier)


async def verify_ledger(pool: Pool) -> AsyncIterator[str]:
    """What is wrong with the ledger: nothing, when no row was altered, moved, added or removed.

    Reads it whole, in its order. An end cut off together with the row that remembers the end can only be
    found by who kept an earlier hash.
    """
    async with pool.acquire() as connection:
        stored_end = await store.chain_end(connection)
        end = Head(0, ledger.START, 0)
        while rows := await store.rows_after(connection, end.position, ROWS_AT_ONCE):
            for found in ledger.broken(rows, end):
                if isinstance(found, str):
                    yield found
                    return
                end = found
                if end.position == stored_end.position and end != stored_end:
                    yield f"position {end.position}: the chain ended otherwise"
                    return
            naming = [
                (hash_, row.position) for row in rows for hash_ in ledger.hashes(ledger.read_terms(row.terms))
            ]
            if await store.indexed(connection, naming) != len(naming):
                yield f"positions {rows[0].position} to {rows[-1].position}: the index lacks an identifier"
        if end.position < stored_end.position:
            yield f"position {end.position + 1}: the end of the chain is missing"
