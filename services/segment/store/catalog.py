"""Segment definitions in Postgres: versions, and the catalog as a whole."""

from __future__ import annotations

from typing import Any

from services.kernel.postgres import Connection, Pool
from services.segment.domain.definition import Catalog, Definition, Segment
from services.segment.store.statements import DEFINITIONS, SQL


class CatalogStore:
    """Reads and changes definitions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._catalog: Catalog | None = None

    async def catalog(self, connection: Connection) -> Catalog:
        """All segments as they stand now, compiled once for each version."""
        version = await connection.fetchval(SQL.catalog_version)
        if self._catalog is None or self._catalog.version != version:
            # One statement: the segments and the version that follows from them belong together.
            self._catalog = Catalog.of([_segment(row) for row in await connection.fetch(SQL.catalog)])
        return self._catalog

    async def current(self) -> Catalog:
        async with self._pool.acquire() as connection:
            return await self.catalog(connection)

    async def put(self, key: str, definition: Definition, now: int) -> tuple[Segment, bool]:
        """The segment as it stands then, and whether it is new. The same definition again changes nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            old = await self._locked(connection, key)
            if old is not None and not old.deleted and old.definition == definition:
                return old, False
            segment = await self._save(connection, key, old, definition, now, deleted=False)
            return segment, old is None or old.deleted

    async def delete(self, key: str, now: int) -> bool:
        """Whether there was such a segment. Its members leave it in the background."""
        async with self._pool.acquire() as connection, connection.transaction():
            old = await self._locked(connection, key)
            if old is None or old.deleted:
                return False
            await self._save(connection, key, old, old.definition, now, deleted=True)
            return True

    async def _locked(self, connection: Connection, key: str) -> Segment | None:
        await connection.execute(SQL.lock_catalog)
        row = await connection.fetchrow(SQL.segment, key)
        return _segment(row) if row is not None else None

    async def _save(
        self,
        connection: Connection,
        key: str,
        old: Segment | None,
        definition: Definition,
        now: int,
        *,
        deleted: bool,
    ) -> Segment:
        version = old.version + 1 if old is not None else 1
        catalog = 1 + await connection.fetchval(SQL.catalog_version)
        segment = Segment.of(key, version, definition, now, catalog, deleted)
        await connection.execute(
            SQL.save_segment,
            key,
            version,
            definition.name,
            definition.purpose,
            definition.rule,
            now,
            catalog,
            deleted,
        )
        await connection.execute("SELECT pg_notify($1, '')", DEFINITIONS)
        return segment


def _segment(row: Any) -> Segment:
    definition = Definition(row["name"], row["purpose"], row["rule"])
    return Segment.of(
        row["key"], row["version"], definition, row["defined_at"], row["catalog"], row["deleted"]
    )
