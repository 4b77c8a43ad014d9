"""The profile service's tables. A batch goes through one statement per table; callers own the transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncpg

from services.kernel.postgres import Connection, Pool, Queries, affected
from services.profile.domain.facet import unpack, unpack_whole
from services.profile.domain.forest import Evidence, Node, pack_members, unpack_members
from services.profile.domain.golden import Member

QUERIES = Queries(Path(__file__).with_name("store.sql"))
DAILY = ("message_ids", "events")
"""Tables with a partition per received day."""
WINDOW_DAYS = 35
"""Message ids are remembered for so many received days: longer than Kafka keeps dead letters, which may be
replayed. An older event could have been applied before, so it is refused."""
DAYS_AHEAD = 2
"""An event received further in the future comes from a broken clock."""
CHANNEL = "candor_profile"
"""Postgres channel on which the relays hear that there is something to publish."""

MissingDay = asyncpg.CheckViolationError
"""What Postgres raises for a row of a day that has no partition."""


class Claimed(NamedTuple):
    """A partition of events.permitted under our epoch, applied up to ``next_offset``."""

    epoch: int
    next_offset: int


class Kept(NamedTuple):
    """An applied event with its coordinates in events.permitted, as the events table keeps it."""

    day: int
    facet: bytes
    at: int
    partition: int
    offset: int
    purposes: str
    record: bytes


class QueuedLink(NamedTuple):
    """A link on its way to the topic identity.links."""

    position: int
    child: bytes
    parent: bytes
    source: str
    message_id: str
    at: int


class Profile(NamedTuple):
    """All facets of one profile, read at one moment; ``root`` is its root's id."""

    root: bytes
    members: list[Member]


# --- whose turn it is --------------------------------------------------------------------------------


async def claim_partitions(connection: Connection, partitions: Iterable[int]) -> dict[int, Claimed]:
    """Raise the epochs of these partitions: nobody else commits for them from now on."""
    rows = await connection.fetch(QUERIES.claim_partitions, sorted(partitions))
    return {row["partition"]: Claimed(row["epoch"], row["next_offset"]) for row in rows}


async def advance(connection: Connection, done: Mapping[int, Claimed], profiles: int) -> bool:
    """Store how far partitions are applied, and by how much that changed the number of profiles.

    False when one of the partitions belongs to a newer epoch: the transaction must be rolled back.
    """
    partitions = sorted(done)
    status = await connection.execute(
        QUERIES.advance,
        partitions,
        [done[partition].epoch for partition in partitions],
        [done[partition].next_offset for partition in partitions],
        [profiles if partition == partitions[0] else 0 for partition in partitions],
    )
    return affected(status) == len(partitions)


async def count_profiles(connection: Connection) -> int:
    count: int = await connection.fetchval(QUERIES.count_profiles)
    return count


# --- applying events ---------------------------------------------------------------------------------


async def insert_message_ids(connection: Connection, ids: Sequence[tuple[int, bytes]]) -> set[bytes]:
    """Insert (received day, key) pairs, in sorted order against deadlocks; the keys that were new.

    A key is not new when the day before or after knows it. Raises MissingDay.
    """
    ordered = sorted(ids)
    days, keys = [day for day, _ in ordered], [key for _, key in ordered]
    return {row[0] for row in await connection.fetch(QUERIES.insert_message_ids, days, keys)}


async def lock_facets(connection: Connection, ids: Iterable[bytes]) -> list[Node]:
    """Lock those facets that exist, in sorted order against deadlocks, until the transaction ends."""
    rows = await connection.fetch(QUERIES.lock_facets, sorted(ids))
    return [
        Node(id, root, unpack_members(members), unpack(state), stored=True)
        for id, root, members, state in rows
    ]


async def write_facets(connection: Connection, nodes: Iterable[Node]) -> bool:
    """Write locked and new facets. False when another transaction made one of the new ones meanwhile."""
    ordered = sorted(nodes, key=lambda node: node.id)
    for statement, stored in ((QUERIES.update_facets, True), (QUERIES.insert_facets, False)):
        own = [node for node in ordered if node.stored is stored]
        if not own:
            continue
        status = await connection.execute(
            statement,
            [node.id for node in own],
            [node.root for node in own],
            [pack_members(node.members) for node in own],
            [node.facet.pack() for node in own],
        )
        if affected(status) != len(own):
            return False
    return True


async def write_evidence(connection: Connection, evidence: Iterable[Evidence]) -> None:
    """Keep evidence and queue what is new of it for the topic identity.links."""
    ordered = sorted(evidence)
    if not ordered:
        return
    await connection.execute(QUERIES.write_evidence, *_columns(ordered))
    new = [item for item in ordered if item.new]
    if new:
        await connection.execute(QUERIES.queue_links, *_columns(new))


def _columns(evidence: Sequence[Evidence]) -> list[list[object]]:
    return [
        [item.child for item in evidence],
        [item.parent for item in evidence],
        [item.source for item in evidence],
        [item.message_id for item in evidence],
        [item.at for item in evidence],
    ]


async def keep_events(connection: Connection, events: Sequence[Kept]) -> None:
    """Raises MissingDay."""
    if events:
        await connection.copy_records_to_table("events", records=events, columns=list(Kept._fields))


# --- what must be published --------------------------------------------------------------------------


async def mark(connection: Connection, roots: Sequence[bytes]) -> None:
    """Have the golden records of these roots, also former ones, published anew."""
    if roots:
        await connection.execute(QUERIES.mark, roots)


async def mark_profiles_of(connection: Connection, ids: Iterable[bytes]) -> None:
    """The same for the profiles to which these identifiers belong; unknown ones are passed over."""
    await connection.execute(QUERIES.mark_profiles_of, sorted(ids))


async def read_marks(connection: Connection, limit: int) -> list[tuple[int, bytes]]:
    """The oldest marks: (position, root)."""
    return [(row[0], row[1]) for row in await connection.fetch(QUERIES.read_marks, limit)]


async def unmark(connection: Connection, positions: Sequence[int]) -> None:
    await connection.execute(QUERIES.unmark, positions)


async def next_version(connection: Connection) -> int:
    """A version above all that were handed out."""
    version: int = await connection.fetchval(QUERIES.next_version)
    return version


async def read_links(connection: Connection, limit: int) -> list[QueuedLink]:
    return [QueuedLink(*row) for row in await connection.fetch(QUERIES.read_links, limit)]


async def forget_links(connection: Connection, positions: Sequence[int]) -> None:
    await connection.execute(QUERIES.forget_links, positions)


# --- a policy that changed ---------------------------------------------------------------------------


async def begin_refolding(connection: Connection, judged_by: str, now: int, judging_since: int) -> None:
    """Have all golden records folded again by that policy, unless that began after ``judging_since`` (µs)."""
    await connection.execute(QUERIES.begin_refolding, judged_by, now, judging_since)


async def mark_page(connection: Connection, limit: int) -> bool:
    """Mark the next profiles that must be folded again; whether there may be more."""
    after = await connection.fetchval(QUERIES.lock_refolding)
    if after is None:
        return False
    roots = [row[0] for row in await connection.fetch(QUERIES.mark_after, after, limit)]
    following = max(roots) if len(roots) == limit else None
    await connection.execute(QUERIES.advance_refolding, following)
    return following is not None


# --- time --------------------------------------------------------------------------------------------


async def note_expiries(connection: Connection, ends: Mapping[bytes, Iterable[int]]) -> None:
    """Replace the ends of the grants of these identifiers."""
    pairs = sorted((id, at) for id, own in ends.items() for at in own)
    await connection.execute(QUERIES.forget_expiries, sorted(ends))
    if pairs:
        await connection.execute(QUERIES.note_expiries, [id for id, _ in pairs], [at for _, at in pairs])


async def mark_expired(connection: Connection, now: int) -> None:
    """Mark the profiles of identifiers with a grant that ended by ``now`` (µs)."""
    await connection.execute(QUERIES.mark_expired, now)


async def add_days(pool: Pool, days: Iterable[int]) -> None:
    """Make the partitions of these received days where they are missing.

    A transaction for each table: one that held both would be in the way of a batch that has one of them.
    """
    wanted = sorted(days)
    for table in DAILY:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(QUERIES.lock_days)
            existing = await _days(connection, table)
            for day in wanted:
                if day not in existing:
                    await connection.execute(
                        f"CREATE TABLE {table}_{day:d} PARTITION OF {table} FOR VALUES IN ({day:d})"
                    )


async def drop_days(pool: Pool, table: str, before: int) -> None:
    """Drop the partitions of received days before that one."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(QUERIES.lock_days)
        for day in sorted(await _days(connection, table)):
            if day < before:
                await connection.execute(f"DROP TABLE {table}_{day:d}")


async def _days(connection: Connection, table: str) -> set[int]:
    rows = await connection.fetch(QUERIES.day_partitions, table)
    return {int(row["name"].rpartition("_")[2]) for row in rows}


# --- reading -----------------------------------------------------------------------------------------


async def read_profiles(
    connection: Connection, roots: Iterable[bytes]
) -> tuple[dict[bytes, bytes], list[Profile]]:
    """Of these facets: where a root is no root any more its new root, and the profiles of the others.

    Needs a transaction of isolation level repeatable read, so that all is of one moment.
    """
    wanted = sorted(roots)
    rows = {row[0]: row for row in await connection.fetch(QUERIES.read_facets, wanted)}
    moved = {id: row[1] for id, row in rows.items() if row[1] != id}
    others = sorted({member for id in rows.keys() - moved.keys() for member in unpack_members(rows[id][2])})
    if others:
        rows |= {row[0]: row for row in await connection.fetch(QUERIES.read_facets, others)}
    profiles = []
    for id in wanted:
        if id in rows and id not in moved:
            family = [id, *sorted(unpack_members(rows[id][2]))]
            profiles.append(Profile(id, [Member(m, unpack_whole(rows[m][3])) for m in family]))
    return moved, profiles


async def find_profile(connection: Connection, id: bytes) -> Profile | None:
    """The profile to which that identifier belongs; a merged profile's id resolves to the survivor.

    Needs a transaction of isolation level repeatable read.
    """
    rows = await connection.fetch(QUERIES.read_facets, [id])
    if not rows:
        return None
    _, profiles = await read_profiles(connection, [rows[0][1]])
    return profiles[0]


async def history(connection: Connection, facets: Iterable[bytes], until: int, limit: int) -> list[Kept]:
    """Applied events of these facets with an event time of at most ``until``, the newest first."""
    rows = await connection.fetch(QUERIES.history, sorted(facets), until, limit)
    return [Kept(*row) for row in rows]


async def events_page(
    connection: Connection, facets: Iterable[bytes], after: tuple[int, int, int], limit: int
) -> list[Kept]:
    """Applied events of these facets by (event time, partition, offset), those after that place."""
    rows = await connection.fetch(QUERIES.events_page, sorted(facets), *after, limit)
    return [Kept(*row) for row in rows]
