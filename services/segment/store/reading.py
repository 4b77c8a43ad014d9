"""What the API and the stream read. Only published transitions are ever served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from services.kernel.events import GoldenRecord, Transition
from services.kernel.postgres import Pool, own_connection
from services.segment.domain.copy import Standing
from services.segment.store.erasing import copies_of, memberships_of, transitions_of
from services.segment.store.statements import PUBLISHED, SQL


class Published(NamedTuple):
    """A published transition; ``value`` as on the topic."""

    partition: int
    position: int
    segment_key: str
    profile_id: bytes
    merged_into: bytes | None
    value: bytes


class Member(NamedTuple):
    """A member when the relay stood at some positions; ``value`` None where the profile is gone since."""

    profile_id: bytes
    sequence: int
    value: bytes | None


class Reader:
    """Reads without locks; each call stands for itself."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def published(self) -> dict[int, int]:
        """The position up to which each partition is published."""
        return _positions(await self._pool.fetch(SQL.published))

    async def oldest_kept(self) -> dict[int, int]:
        """The position per partition from which nothing that followed is forgotten."""
        return _positions(await self._pool.fetch(SQL.oldest_kept))

    async def transitions(
        self, after: Mapping[int, int], until: Mapping[int, int], segment_key: str | None
    ) -> list[Published]:
        """Transitions with after < position <= until of each partition of ``until``, in order of position
        within a partition."""
        partitions, ends = list(until), list(until.values())
        starts = [after.get(partition, 0) for partition in partitions]
        longest = max((end - start for start, end in zip(starts, ends, strict=True)), default=0)
        rows = await self._pool.fetch(SQL.stream, partitions, starts, ends, segment_key, longest)
        return [Published(*row) for row in rows]

    async def members(
        self, segment_key: str, cursor: Mapping[int, int], after: bytes, limit: int
    ) -> list[Member]:
        """Who was in the segment when the relay stood at ``cursor``, by profile id from ``after`` on."""
        rows = await self._pool.fetch(
            SQL.members_at, segment_key, after, list(cursor), list(cursor.values()), limit
        )
        return [Member(*row) for row in rows]

    async def counts(self, partitions: Sequence[int] | None = None) -> dict[str, int]:
        """Members by segment, of some partitions or of all."""
        if partitions is None:
            rows = await self._pool.fetch(SQL.counts)
        else:
            rows = await self._pool.fetch(SQL.counts_of, partitions)
        return {row["segment_key"]: row["members"] for row in rows}

    async def judged_by(self) -> int:
        """The catalog version that has reached every record."""
        version: int = await self._pool.fetchval(SQL.judged_by)
        return version

    async def find(self, identifier: bytes) -> bytes | None:
        """The live profile with that identifier hash."""
        return await self._pool.fetchval(SQL.find, identifier)  # type: ignore[no-any-return]

    async def record(self, profile_id: bytes) -> Any | None:
        """profile_id, version, catalog, due_at, value, merged_into; None where nothing is stored."""
        return await self._pool.fetchrow(SQL.record, profile_id)

    async def standing(self, profile_id: bytes, segment_key: str) -> Any | None:
        """member, sequence, segment_version, reason, occurred_at, value of the last transition (None once
        forgotten) and whether it is published; None where there never was one."""
        return await self._pool.fetchrow(SQL.standing, profile_id, segment_key)

    @asynccontextmanager
    async def notified(self, wake: Callable[[], None]) -> AsyncIterator[Any]:
        """While open, ``wake`` is called when transitions were published. Yields the connection."""
        async with own_connection(self._pool) as connection:
            await connection.add_listener(PUBLISHED, lambda *_: wake())
            yield connection

    async def kept_of(
        self, profile_ids: Sequence[bytes]
    ) -> tuple[list[GoldenRecord | None], list[Standing], list[Transition]]:
        """Copies, memberships and kept transitions of profiles, all of one moment."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            return (
                await copies_of(connection, profile_ids),
                await memberships_of(connection, profile_ids),
                await transitions_of(connection, profile_ids),
            )

    async def forget(self, before: int, batch: int) -> int:
        """Delete up to ``batch`` published transitions of each partition from before the time."""
        return int((await self._pool.execute(SQL.forget_transitions, before, batch)).split()[-1])


def _positions(rows: Sequence[Any]) -> dict[int, int]:
    return {row["partition"]: row["position"] for row in rows}
