"""Kafka and PostgreSQL for tests: servers of their own, databases cloned from a template, topics."""

import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from aiokafka.admin import AIOKafkaAdminClient
from psycopg import sql

from deploy.local import kafka, postgres
from deploy.local.process import HOST, LocalStackError, is_listening, running
from services.kernel import topics
from services.kernel.postgres import migrate
from services.kernel.settings import SERVICES, Settings
from tests.support.policy import OPT_OUT
from tests.support.ports import free_port

IDENTIFIER_KEY = bytes(range(32))
_START_SECONDS = 60
_MEMORY_BYTES = 4 * 1024**3
"""Ten times what a run was seen to keep there."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """Where a PostgreSQL is, and a role there that may create databases."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @classmethod
    def from_dsn(cls, dsn: str) -> "Postgres":
        """Read `postgresql://user:password@host:port/database`."""
        parts = urlsplit(dsn)
        if not (parts.hostname and parts.username and parts.path.strip("/")):
            raise ValueError("expected postgresql://user:password@host:port/database")
        return cls(
            parts.hostname, parts.port or 5432, parts.username, parts.password or "", parts.path.strip("/")
        )

    @property
    def dsn(self) -> str:
        """What ``from_dsn`` reads."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    def execute(self, statement: sql.Composed) -> None:
        """Run a statement outside any transaction, as creating a database demands."""
        with psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.database,
            autocommit=True,
        ) as connection:
            connection.execute(statement)

    @contextmanager
    def new_database(self, template: str = "template0") -> Iterator["Postgres"]:
        """A database of a new name, a copy of `template`, dropped at the end whoever is connected to it."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        try:
            yield replace(self, database=name)
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Whoever is connected is put out, but for autovacuum, which we may not end: it is soon done."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
                return
            except psycopg.errors.InsufficientPrivilege:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


@contextmanager
def kafka_server() -> Iterator[str]:
    """A broker of its own for the length of the block; the bootstrap address."""
    with _folder() as folder:
        process = kafka.prepare(folder, free_port(), free_port(), short_lived=True)
        with running(process, folder / "log"):
            _await_start(lambda: is_listening(process.port), folder / "log")
            yield f"{HOST}:{process.port}"


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL of its own for the length of the block."""
    password = secrets.token_hex(16)
    with _folder() as folder:
        process = postgres.prepare(folder, free_port(), password, shared_buffers="128MB", fsync=False)
        with running(process, folder / "log"):
            _await_start(lambda: postgres.is_ready(process.port, password), folder / "log")
            role = Postgres(HOST, process.port, "candor", password, "candor")
            postgres.ensure_database(
                role.port, password, user=role.user, password=role.password, database=role.database
            )
            yield role


@asynccontextmanager
async def topics_of(settings: Settings, names: Collection[str] | None = None) -> AsyncIterator[None]:
    """Those topics (all registered ones) under the settings' prefix, deleted at the end."""
    names = topics.registry() if names is None else names
    await topics.ensure(settings, names)
    try:
        yield
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
        try:
            await admin.start()
            await admin.delete_topics([settings.topic(name) for name in names])
        finally:
            await admin.close()


def settings_for(home: Path, bootstrap: str, database: Postgres, topic_prefix: str = "") -> Settings:
    """Settings for those servers, with every port free and all files in `home`."""
    return Settings(
        identifier_key=IDENTIFIER_KEY,
        home=home,
        kafka=bootstrap,
        postgres_host=database.host,
        postgres_port=database.port,
        postgres_user=database.user,
        postgres_password=database.password,
        postgres_database=database.database,
        topic_prefix=topic_prefix,
        ingest_port=free_port(),
        consent_port=free_port(),
        profile_port=free_port(),
        segment_port=free_port(),
        keyring=home / "keyring.json",
        policy=OPT_OUT,
    )


def migrate_all(settings: Settings) -> None:
    """Bring every service's schema to its newest migration."""
    for service in SERVICES:
        migrate(settings, service)


@contextmanager
def _folder() -> Iterator[Path]:
    """Not pytest's: it closes its folders to the system user that PostgreSQL runs as when we are root.

    In memory where there is room: tests make and delete files by the hundred thousand, and ext4, which gives
    no inode out again within seconds of its deletion, spent half of all CPU time in looking for others.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own name is made in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _MEMORY_BYTES
    with tempfile.TemporaryDirectory(
        prefix="candor-test-", dir=memory if roomy else None, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _await_start(is_ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise LocalStackError(f"not up after {_START_SECONDS} s:\n{log.read_text()}")
        time.sleep(0.05)
