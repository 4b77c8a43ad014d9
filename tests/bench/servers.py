"""Kafka and PostgreSQL of the bench: its own, or those that the environment names."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from deploy.local import kafka, postgres
from deploy.local.process import HOST, REPOSITORY, free_port, is_listening, running
from tests.bench.processes import wait_until
from tests.support.stack import Postgres

MEMORY = "512MB"
"""shared_buffers; a quarter of what a small database server has is the rule of thumb."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they listen, their process ids where they run on this machine, and the folder of the bench."""

    kafka: str
    postgres: Postgres
    folder: Path
    pids: Mapping[str, int]

    @contextmanager
    def database(self) -> Iterator[Postgres]:
        """A new database, dropped at the end; not so while autovacuum, which we may not end, works in it."""
        with suppress(psycopg.errors.InsufficientPrivilege), self.postgres.new_database() as database:
            yield database


@contextmanager
def servers() -> Iterator[Servers]:
    """Those of CANDOR_TEST_KAFKA and CANDOR_TEST_POSTGRES_DSN, where set; else its own, with fsync on,
    removed at the end with all that they wrote."""
    folder = REPOSITORY / ".candor" / "bench" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    try:
        with ExitStack() as stack:
            broker = os.environ.get("CANDOR_TEST_KAFKA") or _start_kafka(stack, folder)
            dsn = os.environ.get("CANDOR_TEST_POSTGRES_DSN")
            database = Postgres.from_dsn(dsn) if dsn else _start_postgres(stack, folder)
            ports = {"kafka": int(broker.rpartition(":")[2]), "postgres": database.port}
            pids = {name: pid for name, port in ports.items() if (pid := _listener(port)) is not None}
            yield Servers(broker, database, folder, pids)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_kafka(stack: ExitStack, folder: Path) -> str:
    process = kafka.prepare(folder / "kafka", free_port(), free_port())
    stack.enter_context(running(process, folder / "kafka.log"))
    wait_until(lambda: is_listening(process.port), 60, "Kafka")
    return f"{HOST}:{process.port}"


def _start_postgres(stack: ExitStack, folder: Path) -> Postgres:
    role = Postgres(HOST, free_port(), "candor", secrets.token_hex(8), "candor")
    process = postgres.prepare(folder / "postgres", role.port, role.password, shared_buffers=MEMORY)
    stack.enter_context(running(process, folder / "postgres.log"))
    wait_until(lambda: postgres.is_ready(role.port, role.password), 60, "PostgreSQL")
    postgres.ensure_database(
        role.port, role.password, user=role.user, password=role.password, database=role.database
    )
    return role


def _listener(port: int) -> int | None:
    """The process that listens on that port of this machine; the oldest, for Postgres' children share it."""
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
        and connection.pid
    }
    return min(pids, key=lambda pid: psutil.Process(pid).create_time()) if pids else None
