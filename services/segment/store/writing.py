"""One transaction of judgements under the partitions' epochs: copies, memberships, transitions, offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from services.kernel.codec import encode
from services.kernel.events import Transition
from services.kernel.identifier import split
from services.kernel.outcome import Outage
from services.kernel.postgres import Connection, Pool
from services.kernel.predicate import NEVER
from services.segment.domain.definition import Catalog
from services.segment.domain.judging import Known, Standing
from services.segment.store.catalog import CatalogStore
from services.segment.store.erasing import forget_names
from services.segment.store.statements import SQL, TRANSITIONS


class Copy(NamedTuple):
    """A golden record as stored, and when to judge it again."""

    profile_id: bytes
    partition: int
    version: int
    value: bytes | None
    merged_into: bytes | None
    identifiers: bytes
    due: int

    @property
    def is_erased(self) -> bool:
        """Whether the person is gone for good, not merged."""
        return self.value is None and self.merged_into is None


class Stored(NamedTuple):
    """A copy that is to be judged again; ``value`` None where the profile is gone."""

    profile_id: bytes
    version: int
    catalog: int
    due: int
    value: bytes | None


class Change(NamedTuple):
    """A transition, where it goes, and for a merge the surviving profile."""

    partition: int
    profile_id: bytes
    transition: Transition
    merged_into: bytes | None


class Writing:
    """The open transaction. It sees the catalog that its judgements must be made with."""

    def __init__(self, connection: Connection, catalog: Catalog, lanes: Mapping[int, Any]) -> None:
        self._connection = connection
        self.catalog = catalog
        self._positions = {partition: row["position"] for partition, row in lanes.items()}
        self._judged_by = {partition: row["judged_by"] for partition, row in lanes.items()}

    async def known(
        self, profile_ids: Sequence[bytes], gone: Sequence[bool]
    ) -> tuple[dict[bytes, Known], dict[bytes, bytes]]:
        """What is stored of profiles, and the golden records of those marked as ``gone``."""
        rows = await self._connection.fetch(SQL.known, profile_ids, gone)
        standings = await self.standings([row["profile_id"] for row in rows])
        known = {
            row["profile_id"]: Known(
                row["version"],
                row["catalog"],
                _due(row["due_at"]),
                row["merged"],
                row["identifiers"],
                standings.get(row["profile_id"], {}),
            )
            for row in rows
        }
        return known, {row["profile_id"]: row["value"] for row in rows if row["value"] is not None}

    async def standings(self, profile_ids: Sequence[bytes]) -> dict[bytes, dict[str, Standing]]:
        found: dict[bytes, dict[str, Standing]] = {}
        for row in await self._connection.fetch(SQL.standings, profile_ids):
            standing = Standing(row["member"], row["sequence"], row["reason"])
            found.setdefault(row["profile_id"], {})[row["segment_key"]] = standing
        return found

    async def due(self, partition: int, now: int, limit: int) -> list[Stored]:
        """Copies that time may have changed, the most overdue first."""
        return [_stored(row) for row in await self._connection.fetch(SQL.due, partition, now, limit)]

    async def behind_catalog(self, partition: int, limit: int) -> list[Stored]:
        """Copies that were judged by an older catalog; once there are none, the partition is marked so."""
        version = self.catalog.version
        if self._judged_by[partition] >= version:
            return []
        rows = await self._connection.fetch(SQL.judged_before, partition, version, limit)
        if not rows:
            await self._connection.execute(SQL.set_judged_by, partition, version)
        return [_stored(row) for row in rows]

    async def save(self, copies: Sequence[Copy], known: Mapping[bytes, Known]) -> None:
        """Store new versions; each profile once."""
        if not copies:
            return
        ids, partitions, versions, values, merged, identifiers, dues = zip(*copies, strict=True)
        catalog = [self.catalog.version] * len(copies)
        await self._connection.execute(
            SQL.save_records,
            ids,
            partitions,
            versions,
            values,
            merged,
            identifiers,
            _due_column(dues),
            catalog,
        )
        await self._save_identifiers(copies, known)

    async def save_judged(self, judged: Sequence[tuple[bytes, int]]) -> None:
        """Store (profile, due) of copies that were judged again without a new version."""
        ids = [profile_id for profile_id, _ in judged]
        dues = _due_column(due for _, due in judged)
        await self._connection.execute(SQL.save_judged, ids, dues, self.catalog.version)

    async def _save_identifiers(self, copies: Sequence[Copy], known: Mapping[bytes, Known]) -> None:
        added: list[tuple[bytes, bytes]] = []
        removed: list[tuple[bytes, bytes]] = []
        for copy in copies:
            before = known[copy.profile_id].identifiers
            if copy.identifiers != before:
                new, old = set(split(copy.identifiers)), set(split(before))
                added += [(value, copy.profile_id) for value in new - old]
                removed += [(value, copy.profile_id) for value in old - new]
        if removed:
            await self._connection.execute(SQL.remove_identifiers, *zip(*removed, strict=True))
        if added:
            await self._connection.execute(SQL.add_identifiers, *zip(*sorted(added), strict=True))

    async def append(self, changes: Sequence[Change]) -> None:
        """Give each transition the next position of its partition, and let the memberships follow."""
        if not changes:
            return
        rows = []
        memberships = []
        counts: Counter[tuple[str, int]] = Counter()
        for partition, profile_id, change, merged_into in changes:
            position = self._positions[partition] = self._positions[partition] + 1
            place = (partition, position, change.segment_key, profile_id, change.sequence)
            rows.append((*place, change.evaluated_at, merged_into, encode(change)))
            memberships.append(
                (*place, change.member, change.segment_version, change.reason, change.occurred_at)
            )
            counts[change.segment_key, partition] += 1 if change.member else -1
        await self._connection.execute(SQL.add_transitions, *zip(*rows, strict=True))
        await self._connection.execute(SQL.save_memberships, *zip(*memberships, strict=True))
        changed = [(key, partition, members) for (key, partition), members in sorted(counts.items())]
        await self._connection.execute(SQL.count_members, *zip(*changed, strict=True))
        await self._connection.execute("SELECT pg_notify($1, '')", TRANSITIONS)

    async def forget_names(self, profile_ids: Iterable[bytes]) -> None:
        """Take out of published transitions whom these profiles were."""
        erased = list(profile_ids)
        if erased:
            await forget_names(self._connection, erased)

    async def advance(self, offsets: Mapping[int, int]) -> None:
        """Store the positions, and how far profiles.state is read where that rose. Comes last."""
        partitions = sorted(self._positions)
        positions = [self._positions[partition] for partition in partitions]
        read = [offsets.get(partition, 0) for partition in partitions]
        await self._connection.execute(SQL.advance, partitions, positions, read)


class Writer:
    """Opens transactions for the partitions that are this process's."""

    def __init__(self, pool: Pool, catalogs: CatalogStore) -> None:
        self._pool = pool
        self._catalogs = catalogs
        self.epochs: dict[int, int] = {}

    async def take(self, partitions: Iterable[int]) -> dict[int, int]:
        """Make this process the writer of exactly these partitions; offset to read from for each."""
        wanted = sorted(partitions)
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL.raise_epochs, wanted)
            await connection.execute(SQL.begin_publishing, wanted)
        self.epochs = {row["partition"]: row["epoch"] for row in rows}
        return {row["partition"]: row["kafka_offset"] for row in rows}

    async def waiting(self, now: int) -> list[int]:
        """This process's partitions in which copies must be judged again."""
        rows = await self._pool.fetch(SQL.waiting, list(self.epochs), now)
        return [row["partition"] for row in rows]

    @asynccontextmanager
    async def begin(self, partitions: Iterable[int]) -> AsyncIterator[Writing]:
        """A transaction that holds these partitions. Raises Outage, and nothing is written, when another
        process has taken one of them."""
        wanted = list(partitions)
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(SQL.lock_partitions, wanted)
            lanes = {row["partition"]: row for row in rows}
            for partition in wanted:
                if partition not in lanes or lanes[partition]["epoch"] != self.epochs.get(partition):
                    raise Outage(f"partition {partition} of profiles.state is another process's now")
            # After the lock, so that no judgement by an older catalog follows the partition's backfill.
            catalog = await self._catalogs.catalog(connection)
            yield Writing(connection, catalog, lanes)


def _stored(row: Any) -> Stored:
    return Stored(row["profile_id"], row["version"], row["catalog"], _due(row["due_at"]), row["value"])


def _due(value: int | None) -> int:
    return NEVER if value is None else value


def _due_column(dues: Iterable[int]) -> list[int | None]:
    return [None if due == NEVER else due for due in dues]
