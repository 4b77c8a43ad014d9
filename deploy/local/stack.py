"""The whole of Candor on one machine: Kafka, PostgreSQL and the services, with all data under `CANDOR_HOME`.

Whoever sets CANDOR_KAFKA or CANDOR_POSTGRES_HOST has that server already: it is used, not started.
"""

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import kafka, postgres
from deploy.local.process import HOST, LocalStackError, Process, is_free
from deploy.local.supervisor import State, Supervisor
from services.kernel import keys, topics
from services.kernel.postgres import migrate
from services.kernel.settings import ROOT, SERVICES, Settings

SHOP = "shop"
_READY_SECONDS = 60
_LOG_LINES, _LOG_COLUMNS = 20, 300


@dataclass(frozen=True, slots=True)
class Row:
    """A line of `status`: a process, its state and address, and why it is not ready (empty when it is)."""

    name: str
    state: str
    pid: int
    address: str
    problem: str


class Stack:
    """The local stack that the environment describes.

    `settings` are what the services run with; `environment` is the same as variables.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        home = Path(environment.get("CANDOR_HOME", ROOT / ".candor"))
        self.home = home if home.is_absolute() else ROOT / home
        self._runs_kafka = "CANDOR_KAFKA" not in environment
        self._runs_postgres = "CANDOR_POSTGRES_HOST" not in environment
        self._kafka_port = _port(environment, "CANDOR_KAFKA_PORT", "9092")
        self._shop_port = _port(environment, "CANDOR_SHOP_PORT", "8050")
        generated = _secrets(self.home / "secrets.json")
        self._superuser_password = generated["postgres_superuser_password"]
        password = {"CANDOR_POSTGRES_PASSWORD": generated["postgres_password"]} if self._runs_postgres else {}
        self.environment = {
            "CANDOR_KAFKA": f"{HOST}:{self._kafka_port}",
            "CANDOR_IDENTIFIER_KEY": generated["identifier_key"],
            "CANDOR_KEYRING": str(self.home / "keyring.json"),
            **password,
            **environment,
            "CANDOR_HOME": str(self.home),
        }
        self.settings = Settings.from_environment(self.environment)
        self._supervisor = Supervisor(self.home)

    def start_servers(self) -> None:
        """Start Kafka and PostgreSQL, then wait until both answer. Does nothing where they run already.

        Raises:
            LocalStackError: a port is taken, a download failed, or a server did not come up.
        """
        if not self._supervisor.is_running():
            self._check_ports()
            self._supervisor.launch([*self._servers(), *self._services()], self.environment)
        for name in self._server_names():
            self._supervisor.start(name)
        for name in self._server_names():
            self._await_ready(name)

    def prepare(self) -> dict[str, str]:
        """Database, topics, migrations and the first API keys, each made where it is missing.

        Returns:
            The tokens of the first keys by name.
        """
        settings = self.settings
        if self._runs_postgres:
            postgres.ensure_database(
                settings.postgres_port,
                self._superuser_password,
                user=settings.postgres_user,
                password=settings.postgres_password,
                database=settings.postgres_database,
            )
        asyncio.run(topics.ensure(settings))
        for service in SERVICES:
            migrate(settings, service)
        return keys.ensure_default_keys(settings)

    def start_services(self) -> None:
        """Start the four services and wait until every one is ready.

        Raises:
            LocalStackError: one is not ready in time; the message has its reasons and the end of its log.
        """
        for service in SERVICES:
            self._supervisor.start(service)
        for service in SERVICES:
            self._await_ready(service)

    def open_shop(self) -> str:
        """Start the shop that one can visit and wait until it answers; its address.

        Raises:
            LocalStackError: its port is taken, or it did not come up.
        """
        if self._supervisor.states()[SHOP].pid == 0 and not is_free(self._shop_port):
            raise LocalStackError(f"port {self._shop_port} is in use: free it or set CANDOR_SHOP_PORT")
        self._supervisor.start(SHOP)
        self._await_ready(SHOP)
        return f"http://{self._addresses()[SHOP]}"

    def stop(self) -> bool:
        """Stop all that we started and keep the data. False when nothing ran."""
        if not self._supervisor.is_running():
            return False
        self._supervisor.shutdown()
        return True

    def remove(self) -> None:
        """Stop, then delete the data, logs and keys."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def status(self) -> list[Row]:
        """Every process in the order of starting."""
        states = self._supervisor.states()
        rows = []
        for name, address in self._addresses().items():
            if name == SHOP and not (name in states and states[name].pid):
                continue  # of the demo alone
            state = states.get(name, State(name, "STOPPED" if self._is_ours(name) else "YOURS", 0))
            rows.append(Row(name, state.state.lower(), state.pid, address, self._problem(name)))
        return rows

    def _is_ours(self, name: str) -> bool:
        return name in (*SERVICES, SHOP) or name in self._server_names()

    def _server_names(self) -> list[str]:
        return ["kafka"] * self._runs_kafka + ["postgres"] * self._runs_postgres

    def _addresses(self) -> dict[str, str]:
        settings = self.settings
        return {
            "kafka": settings.kafka.split(",")[0],
            "postgres": f"{settings.postgres_host}:{settings.postgres_port}",
            **{service: f"{settings.host}:{settings.port(service)}" for service in SERVICES},
            SHOP: f"{settings.host}:{self._shop_port}",
        }

    def _servers(self) -> list[Process]:
        servers = []
        if self._runs_kafka:
            servers.append(kafka.prepare(self.home / "kafka", self._kafka_port, self._kafka_port + 1))
        if self._runs_postgres:
            port = self.settings.postgres_port
            servers.append(postgres.prepare(self.home / "postgres", port, self._superuser_password))
        return servers

    def _services(self) -> list[Process]:
        services = [
            Process(service, (sys.executable, "-m", f"services.{service}"), self.settings.port(service))
            for service in SERVICES
        ]
        shop = (sys.executable, "-m", "deploy.demo.storefront", str(self._shop_port))
        return [*services, Process(SHOP, shop, self._shop_port)]

    def _check_ports(self) -> None:
        wanted = {self.settings.port(service): f"CANDOR_{service.upper()}_PORT" for service in SERVICES}
        if self._runs_kafka:
            wanted |= {self._kafka_port + number: "CANDOR_KAFKA_PORT" for number in (0, 1)}
        if self._runs_postgres:
            wanted[self.settings.postgres_port] = "CANDOR_POSTGRES_PORT"
        taken = [
            f"port {port} is in use: free it or set {name}"
            for port, name in wanted.items()
            if not is_free(port)
        ]
        if taken:
            raise LocalStackError("\n".join(taken))

    def _await_ready(self, name: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while problem := self._problem(name):
            state = self._supervisor.states()[name].state
            if time.monotonic() > deadline or state == "FATAL":
                log = self._supervisor.log(name)
                text = log.read_text(errors="replace") if log.exists() else ""
                lines = [line[:_LOG_COLUMNS] for line in text.splitlines()[-_LOG_LINES:]]
                raise LocalStackError(
                    "\n".join([f"{name} ({state.lower()}): {problem}", f"{log} ends:", *lines])
                )
            time.sleep(0.1)

    def _problem(self, name: str) -> str:
        """Why the process is not ready, empty when it is."""
        address = self._addresses()[name]
        try:
            if name in SERVICES:
                urllib.request.urlopen(f"http://{address}/health/ready", timeout=2).close()  # noqa: S310 - ours
            elif name == "postgres" and self._runs_postgres:
                ready = postgres.is_ready(self.settings.postgres_port, self._superuser_password)
                return "" if ready else "does not answer"
            else:
                host, port = address.rsplit(":", 1)
                socket.create_connection((host, int(port)), timeout=2).close()
        except urllib.error.HTTPError as error:
            return error.read().decode(errors="replace")
        except OSError:
            return "does not answer"
        return ""


def _port(environment: Mapping[str, str], name: str, default: str) -> int:
    """Below the last one: Kafka takes the next as well."""
    text = environment.get(name, default)
    if not (text.isdecimal() and 0 < int(text) < 65535):
        raise LocalStackError(f"{name} is wrong: expected a port below 65535: {text}")
    return int(text)


def _secrets(path: Path) -> dict[str, str]:
    """The secrets of this installation, made once. The identifier key must never change while data exists."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {
            "identifier_key": secrets.token_hex(32),
            "postgres_password": secrets.token_hex(16),
            "postgres_superuser_password": secrets.token_hex(16),
        }
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(made, indent=2) + "\n")
        new.replace(path)
    kept: dict[str, str] = json.loads(path.read_text())
    return kept
