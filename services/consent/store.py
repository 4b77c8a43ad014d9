"""The consent service's tables. Callers own the transactions; store.sql names the order of locks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from services.consent.domain import audit
from services.consent.domain.counting import Asked, Counted
from services.consent.domain.ledger import Head, Row, Terms, decision, hashes, read_terms
from services.consent.domain.rule import Decision, Pair
from services.consent.domain.unlisted import Unlisted
from services.kernel.postgres import Connection, Queries

QUERIES = Queries(Path(__file__).with_name("store.sql"))
ALWAYS = (1 << 62) - 1
"""A time later than any: as of now, whatever the clocks say."""


class Stored(NamedTuple):
    """An identifier's effective state: version 0 and None when none was ever published."""

    version: int
    state: bytes | None
    next_expiry: int | None


class Waiting(NamedTuple):
    """A state that the topic does not show yet, as it stands now."""

    position: int
    hash: bytes
    state: bytes


# --- who is linked to whom ---------------------------------------------------------------------------


async def closure(connection: Connection, hashes: Iterable[bytes], at: int = ALWAYS) -> set[bytes]:
    """The identifiers and all that are linked to them, however far, as of that time."""
    rows = await connection.fetch(QUERIES.closure, list(hashes), at)
    return {row["hash"] for row in rows}


async def lock(connection: Connection, hashes: Iterable[bytes]) -> None:
    """Lock the identifiers, in sorted order, until the transaction ends."""
    await connection.execute(QUERIES.lock, sorted(hashes))


async def links_of(connection: Connection, hashes: Iterable[bytes], at: int = ALWAYS) -> set[Pair]:
    """All links that begin at one of the identifiers, as of that time."""
    return {(row["one"], row["other"]) for row in await connection.fetch(QUERIES.links_of, list(hashes), at)}


async def known_links(connection: Connection, pairs: Sequence[Pair]) -> set[Pair]:
    """Those of the pairs that are on record, cut or not."""
    rows = await connection.fetch(QUERIES.known_links, *_columns(pairs, 2))
    return {(row["one"], row["other"]) for row in rows}


async def insert_links(connection: Connection, pairs: Collection[Pair], now: int) -> None:
    """Put links on record; those that are already stay as they are, cut or not."""
    await connection.execute(QUERIES.insert_links, *_columns(_both_ways(pairs), 2), now)


async def cut_links(connection: Connection, pairs: Collection[Pair], now: int) -> None:
    """Cut links, also those for which no evidence has come yet."""
    await connection.execute(QUERIES.cut_links, *_columns(_both_ways(pairs), 2), now)


# --- effective states --------------------------------------------------------------------------------


async def states(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, Stored]:
    """The states of those identifiers that are known."""
    return {
        row["hash"]: Stored(row["version"], row["state"], row["next_expiry"])
        for row in await connection.fetch(QUERIES.states, list(hashes))
    }


async def write_states(connection: Connection, changed: Mapping[bytes, Stored]) -> None:
    """Store new states of locked identifiers and mark them as unpublished."""
    rows = [(hash_, *changed[hash_]) for hash_ in sorted(changed)]
    await connection.execute(QUERIES.write_states, *_columns(rows, 4))
    await connection.execute(QUERIES.mark_unpublished, [row[0] for row in rows])


async def due(connection: Connection, now: int, limit: int) -> list[bytes]:
    """Identifiers of which a grant has ended, the longest ago first."""
    return [row["hash"] for row in await connection.fetch(QUERIES.due, now, limit)]


# --- publication -------------------------------------------------------------------------------------


async def unpublished_of(connection: Connection, hashes: Iterable[bytes]) -> frozenset[int]:
    """Positions that must have been published before anybody may rely on what holds for the identifiers."""
    rows = await connection.fetch(QUERIES.unpublished_of, list(hashes))
    return frozenset(row["position"] for row in rows)


async def to_publish(connection: Connection, limit: int) -> list[Waiting]:
    """The states that have waited longest; an identifier may stand there twice, with the same state."""
    rows = await connection.fetch(QUERIES.to_publish, limit)
    return [Waiting(row["position"], row["hash"], row["state"]) for row in rows]


async def mark_published(connection: Connection, positions: Iterable[int]) -> None:
    await connection.execute(QUERIES.published, list(positions))


async def still_unpublished(connection: Connection, positions: Iterable[int]) -> set[int]:
    rows = await connection.fetch(QUERIES.still_unpublished, list(positions))
    return {row["position"] for row in rows}


# --- the ledger --------------------------------------------------------------------------------------


async def lock_chain(connection: Connection) -> Head:
    """The end of the chain, locked until the transaction ends: nobody else appends meanwhile."""
    return Head(*await connection.fetchrow(QUERIES.lock_chain))  # type: ignore[misc]


async def chain_end(connection: Connection) -> Head:
    """The end of the chain as it was stored beside the ledger."""
    return Head(*await connection.fetchrow(QUERIES.chain))  # type: ignore[misc]


async def by_id(
    connection: Connection, keys: Collection[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, Terms]]:
    """Position and terms of those (source, id) that the ledger holds already."""
    found = {}
    for row in await connection.fetch(QUERIES.by_id, *_columns(list(keys), 2)):
        terms = read_terms(row["terms"])
        found[terms.source, terms.id] = row["position"], terms
    return found


async def append(connection: Connection, added: Sequence[tuple[Row, Terms]], end: Head) -> None:
    """Append rows that follow each other and the locked chain, which then ends at ``end``."""
    rows = [
        (row.position, terms.source, terms.id, row.terms, row.salt, row.record, row.commitment, row.hash)
        for row, terms in added
    ]
    naming = [(hash_, row.position) for row, terms in added for hash_ in hashes(terms)]
    await connection.execute(QUERIES.append, *_columns(rows, 8))
    await connection.execute(QUERIES.index_ledger, *_columns(naming, 2))
    await connection.execute(QUERIES.move_chain, end.position, end.hash, end.decided_at)


async def decisions_of(connection: Connection, hashes: Iterable[bytes]) -> list[Decision]:
    """All decisions that name any of the identifiers, in their order."""
    rows = await connection.fetch(QUERIES.decisions_of, list(hashes))
    return [decision(row["position"], read_terms(row["terms"])) for row in rows]


async def rows_of(connection: Connection, hash_: bytes) -> list[Row]:
    """The ledger's rows that name one identifier, in their order."""
    return [Row(*row) for row in await connection.fetch(QUERIES.rows_of, hash_)]


async def rows_after(connection: Connection, position: int, limit: int) -> list[Row]:
    """The ledger from there on, in its order."""
    return [Row(*row) for row in await connection.fetch(QUERIES.rows_after, position, limit)]


async def indexed(connection: Connection, naming: Sequence[tuple[bytes, int]]) -> int:
    """How many of these (identifier, position) pairs the ledger's index holds."""
    count: int = await connection.fetchval(QUERIES.indexed, *_columns(naming, 2))
    return count


# --- how many chose what -----------------------------------------------------------------------------


async def count_choices(connection: Connection, day: int, counts: Mapping[Counted, int]) -> None:
    """Add the counts to those of the day; in sorted order, so that two never wait for each other."""
    rows = sorted((*counted.asked, counted.purpose, counted.choice, n) for counted, n in counts.items())
    if rows:
        await connection.execute(QUERIES.count_choices, day, *_columns(rows, 5))


async def choices_between(connection: Connection, first: int, last: int) -> dict[Counted, int]:
    """The counts of those days in sum, both included."""
    rows = await connection.fetch(QUERIES.choices_between, first, last)
    return {
        Counted(Asked(row["language"], row["jurisdiction"]), row["purpose"], row["choice"]): row["count"]
        for row in rows
    }


# --- the audit log -----------------------------------------------------------------------------------


async def lock_audit(connection: Connection) -> audit.End:
    """The end of the audit log, locked until the transaction ends: nobody else appends meanwhile."""
    return audit.End(*await connection.fetchrow(QUERIES.lock_audit))  # type: ignore[misc]


async def audit_end(connection: Connection) -> audit.End:
    """The end of the audit log as it was stored beside it."""
    return audit.End(*await connection.fetchrow(QUERIES.audit_chain))  # type: ignore[misc]


async def audit_offsets(connection: Connection) -> dict[int, int]:
    """By partition the offset after the last act that the log holds."""
    return {row["partition"]: row["next"] for row in await connection.fetch(QUERIES.audit_offsets)}


async def audited(connection: Connection, places: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those (partition, offset) that the log holds already."""
    rows = await connection.fetch(QUERIES.audited, *_columns(list(places), 2))
    return {(row["partition"], row["offset"]) for row in rows}


async def append_audit(connection: Connection, rows: Sequence[audit.Row], end: audit.End) -> None:
    """Append rows that follow each other and the locked end, which moves to ``end``."""
    values = [(row.position, row.partition, row.offset, row.at, row.act, row.hash) for row in rows]
    await connection.execute(QUERIES.append_audit, *_columns(values, 6))
    await connection.execute(QUERIES.move_audit, end.position, end.hash)


async def audit_rows(
    connection: Connection, position: int, limit: int, since: int = -ALWAYS, until: int = ALWAYS
) -> list[audit.Row]:
    """The audit log after that position, in its order: the acts of that time."""
    rows = await connection.fetch(QUERIES.audit_rows, position, limit, since, until)
    return [audit.Row(*row) for row in rows]


def _both_ways(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted({pair for one, other in pairs for pair in ((one, other), (other, one))})


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """The rows as parallel arrays."""
    return [[row[column] for row in rows] for column in range(width)]


# --- what the catalog lacks --------------------------------------------------------------------------


async def lock_unlisted(
    connection: Connection, sources: Collection[str], forget_before: int
) -> dict[Unlisted, int]:
    """What is noted of these sources, with the time when it was first seen, locked until the transaction
    ends. All that was last seen before ``forget_before`` is forgotten."""
    await connection.execute(QUERIES.lock_unlisted)
    await connection.execute(QUERIES.forget_unlisted, forget_before)
    rows = await connection.fetch(QUERIES.unlisted_of, list(sources))
    return {Unlisted(*row[:4]): row[4] for row in rows}


async def note_unlisted(
    connection: Connection, noted: Sequence[Unlisted], now: int, leaving: Sequence[Unlisted]
) -> None:
    """Note that these were seen now, in the place of those that are leaving."""
    await connection.execute(QUERIES.remove_unlisted, *_columns(leaving, 4))
    await connection.execute(QUERIES.note_unlisted, *_columns(noted, 4), now)


async def read_unlisted(connection: Connection, since: int) -> dict[Unlisted, tuple[int, int]]:
    """What was seen since then: first and last time."""
    rows = await connection.fetch(QUERIES.unlisted, since)
    return {Unlisted(*row[:4]): (row[4], row[5]) for row in rows}
