"""Postgres: pool, migrations, named statements, and which errors are outages.

A service's tables stand in the schema that bears its name; its connections see no other.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import asyncpg
import psycopg
import psycopg.sql
from asyncpg.exceptions._base import DataError as UnsendableError  # what no column of that type can hold
from yoyo import get_backend, read_migrations

from services.kernel.outcome import Outage
from services.kernel.settings import ROOT, Settings

# asyncpg's pool is generic in its record class only for type checkers.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

OUTAGES: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.QueryCanceledError,
    asyncpg.InternalClientError,
    asyncpg.TransactionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)
"""Postgres can not do it now; the same call may go through later."""

RETRY: tuple[type[Exception], ...] = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""The transaction lost against another one and can be run again at once."""

DATA: tuple[type[Exception], ...] = (
    asyncpg.DataError,
    UnsendableError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.UntranslatableCharacterError,
)
"""A value that Postgres refuses: some record of the batch is bad."""

TRANSACTION_SECONDS = 5
"""The server ends any transaction after this: what a paused worker judged can not be committed later."""


async def connect(
    settings: Settings, service: str, *, size: int = 10, transaction_seconds: int = TRANSACTION_SECONDS
) -> Pool:
    """A pool whose connections see the service's schema and whose transactions the server bounds."""
    pool = await asyncpg.create_pool(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=settings.postgres_password,
        database=settings.postgres_database,
        min_size=1,
        max_size=size,
        command_timeout=30,
        server_settings={
            "search_path": service,
            "application_name": f"candor-{service}",
            "transaction_timeout": f"{transaction_seconds}s",
            "timezone": "UTC",
            "jit": "off",
        },
    )
    if pool is None:  # only for callers who pass loop=…
        raise Outage("Postgres: no pool", dependency="postgres")
    return pool


@asynccontextmanager
async def own_connection(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for one task alone. At the end it is closed and not given back, in whatever state it is:
    its session's locks, settings and listeners go with it."""
    connection = await pool.acquire()
    try:
        yield connection
    finally:
        # One that the server closed before is complained of; raised from here, that would take the place of
        # a cancellation.
        with suppress(*OUTAGES):
            connection.terminate()
            await pool.release(connection)


def migrate(settings: Settings, service: str) -> None:
    """Bring the service's schema to its newest migration. Safe to call from several processes at once."""
    folder = ROOT / "services" / service / "migrations"
    if not folder.is_dir():
        return
    address = (
        f"postgresql+psycopg://{quote(settings.postgres_user, safe='')}"
        f":{quote(settings.postgres_password, safe='')}"
        f"@{settings.postgres_host}:{settings.postgres_port}/{settings.postgres_database}?schema={service}"
    )
    with psycopg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=settings.postgres_password,
        dbname=settings.postgres_database,
        autocommit=True,
    ) as connection:
        # Two processes that create it at once collide in the catalogue: one at a time.
        connection.execute("SELECT pg_advisory_lock(hashtext('candor migrations'))")
        connection.execute(
            psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(psycopg.sql.Identifier(service))
        )
    backend = get_backend(address)
    try:
        with backend.lock():
            backend.apply_migrations(backend.to_apply(read_migrations(str(folder))))
    finally:
        backend.connection.close()


class Queries:
    """The statements of a store.sql as attributes: each begins with a line ``-- name: NAME``."""

    def __init__(self, path: Path) -> None:
        parts = re.split(r"^-- name: (\w+)\s*$", path.read_text(), flags=re.MULTILINE)
        self._statements: dict[str, str] = dict(
            zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True)
        )

    def __getattr__(self, name: str) -> str:
        statement = self._statements.get(name)
        if statement is None:
            raise AttributeError(f"no statement is named {name}")
        return statement


def affected(status: Any) -> int:
    """Rows that a statement changed, from its command tag such as ``UPDATE 3``."""
    return int(str(status).rsplit(" ", 1)[-1])
