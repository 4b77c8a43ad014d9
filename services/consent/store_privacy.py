"""Visitors' secrets and people's requests in Postgres. Callers own the transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from services.consent.domain.request_rights import STEPS, Request, Step
from services.consent.store import QUERIES
from services.kernel.postgres import Connection, Pool, affected

MOST_REQUESTS = 100
"""Of one person that are shown, the newest."""


class Open(NamedTuple):
    """A step that is not done."""

    request: str
    service: str


async def claim(pool: Pool, identifier: bytes, secret: bytes, now: int) -> bool:
    """Whether the identifier is the one's with that secret (hashed): the first that claims it has it."""
    await pool.execute(QUERIES.claim_visitor, identifier, secret, now)
    return await secret_of(pool, identifier) == secret


async def secret_of(pool: Pool, identifier: bytes) -> bytes | None:
    """The hash of the secret that the identifier was claimed with."""
    found: bytes | None = await pool.fetchval(QUERIES.visitor_secret, identifier)
    return found


async def add(connection: Connection, request: Request, state: str, at: int | None) -> None:
    """Put a request on record, with all its steps in that state."""
    await connection.execute(
        QUERIES.add_request,
        request.id,
        request.type,
        request.how,
        sorted(request.named),
        request.received_at,
        request.due_at,
    )
    await connection.execute(QUERIES.add_steps, request.id, list(STEPS[request.type]), state, at)


async def find(connection: Connection, id: str) -> Request | None:
    found = await _with_steps(connection, await connection.fetch(QUERIES.request, id))
    return found[0] if found else None


async def requests_of(connection: Connection, named: Iterable[bytes]) -> list[Request]:
    """Requests that name any of the identifiers, the newest first."""
    return await _with_steps(
        connection, await connection.fetch(QUERIES.requests_of, sorted(named), MOST_REQUESTS)
    )


async def take(connection: Connection, least: int, now: int, limit: int, most: int) -> list[Open]:
    """Steps that are not done and were last asked for long enough ago (µs): the ``least``, and ever longer
    the longer they wait, up to the ``most``. From now on they count as asked."""
    return [Open(*row) for row in await connection.fetch(QUERIES.take_steps, least, now, limit, most)]


async def settle(
    connection: Connection,
    step: Open,
    state: str,
    at: int,
    counts: Mapping[str, int] | None = None,
    detail: str = "",
) -> None:
    """What became of a step; one that is done stays so."""
    shown = msgspec.json.encode(counts or {}).decode()
    await connection.execute(QUERIES.settle_step, *step, state, at, shown, detail)


async def ask_now(connection: Connection, step: Open) -> None:
    """Have a step asked for at the next opportunity."""
    await connection.execute(QUERIES.ask_now, *step)


async def settle_cut(connection: Connection, id: str, identifiers: Collection[bytes], erased_at: int) -> None:
    """Whom an erasure concerns, and its cut."""
    await connection.execute(QUERIES.settle_cut, id, sorted(identifiers), erased_at)


async def erase_records(connection: Connection, positions: Collection[int]) -> int:
    """Erase the records of these decisions; returns of how many."""
    return affected(await connection.execute(QUERIES.erase_records, sorted(positions)))


async def _with_steps(connection: Connection, rows: list[Any]) -> list[Request]:
    steps: dict[str, list[Step]] = {row["id"]: [] for row in rows}
    for row in await connection.fetch(QUERIES.steps_of, list(steps)):
        counts = msgspec.json.decode(row["counts"])
        steps[row["request"]].append(Step(row["service"], row["state"], row["at"], counts, row["detail"]))
    return [
        Request(
            row["id"],
            row["type"],
            row["how"],
            frozenset(row["named"]),
            row["received_at"],
            row["due_at"],
            tuple(steps[row["id"]]),
            frozenset(row["identifiers"]),
            row["erased_at"],
        )
        for row in rows
    ]
