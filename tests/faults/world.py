"""A whole Candor of a test's own, every part of which may be killed, paused and started again."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from deploy.local import kafka, postgres
from deploy.local.process import HOST, REPOSITORY, Process, is_listening
from services.kernel import keys, topics
from services.kernel.settings import Settings
from tests.support import stack
from tests.support.ports import free_port
from tests.support.services import Service
from tests.support.services import services as running_services

PARTS = ("ingest", "consent", "profile", "segment")


class Server:
    """Kafka or PostgreSQL in the foreground, with data that survives a restart."""

    def __init__(self, prepare: Callable[[], Process], ready: Callable[[], bool], log: Path) -> None:
        self._prepare = prepare
        self._ready = ready
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        process = self._prepare()
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                process.command,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=process.user,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self._ready():
            if time.monotonic() > deadline or self._child.poll() is not None:
                raise RuntimeError(self._log.read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> None:
        """Send the signal and wait until the process is gone."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)
            try:
                self._child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait()


class World:
    """Servers, services and keys. All of it ends with the block that made it."""

    def __init__(
        self, settings: Settings, kafka_server: Server, postgres_server: Server, parts: Mapping[str, Service]
    ) -> None:
        self.settings = settings
        self.kafka = kafka_server
        self.postgres = postgres_server
        self.services = parts
        self.tokens = keys.ensure_default_keys(settings)

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection as the services' role, to look from outside."""
        return await asyncpg.connect(
            host=self.settings.postgres_host,
            port=self.settings.postgres_port,
            user=self.settings.postgres_user,
            password=self.settings.postgres_password,
            database=self.settings.postgres_database,
        )

    def revive(self) -> None:
        """Start again what has ended, as a process manager would, and wait until all is ready."""
        for service in self.services.values():
            try:
                service.ready()
            except RuntimeError:
                service.start()
        for service in self.services.values():
            service.wait_ready(90)


@contextmanager
def world() -> Iterator[World]:
    """A running system on free ports."""
    with tempfile.TemporaryDirectory(prefix="candor-faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        ports = free_port(), free_port(), free_port()
        password = secrets.token_hex(8)
        broker = Server(
            lambda: kafka.prepare(folder / "kafka", ports[0], ports[1]),
            lambda: is_listening(ports[0]),
            folder / "kafka.log",
        )
        database = Server(
            lambda: postgres.prepare(folder / "postgres", ports[2], password, shared_buffers="128MB"),
            lambda: postgres.is_ready(ports[2], password),
            folder / "postgres.log",
        )
        try:
            broker.start()
            database.start()
            role = stack.Postgres(HOST, ports[2], "candor", password, "candor")
            postgres.ensure_database(
                role.port, password, user=role.user, password=role.password, database=role.database
            )
            settings = stack.settings_for(folder / "home", f"{HOST}:{ports[0]}", role)
            asyncio.run(topics.ensure(settings))
            stack.migrate_all(settings)
            keys.ensure_default_keys(settings)
            with running_services(settings) as parts:
                yield World(settings, broker, database, parts)
        finally:
            database.end(signal.SIGINT)
            broker.end(signal.SIGTERM)
