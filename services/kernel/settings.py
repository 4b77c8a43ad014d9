"""Settings of a process, from the environment alone. Every error is reported at once; secrets are masked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from services.kernel.identifier import Hasher
from services.kernel.outcome import CandorError

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("ingest", "consent", "profile", "segment")


class InvalidSettings(CandorError):
    """All that is wrong with the environment, one line each."""


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError
    return port


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count


def _proxies(text: str) -> str:
    for part in text.split(","):
        if text != "*":
            ip_network(part.strip())
    return text


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError
    return text.upper()


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if not 16 <= len(key) <= 64:
        raise ValueError
    return key


def _path(text: str) -> Path:
    path = Path(text)
    return path if path.is_absolute() else ROOT / path


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process needs to know. ``identifier_key`` must be the same in all services, for ever.

    ``proxies``: addresses and networks whose X-Forwarded-For is believed, with commas, ``*`` for everybody's.
    ``connections``: how many a process takes at once.
    """

    identifier_key: bytes = field(repr=False)
    postgres_password: str = field(repr=False)
    home: Path = ROOT / ".candor"
    kafka: str = "127.0.0.1:9092"
    postgres_host: str = "127.0.0.1"
    postgres_port: int = 5433
    postgres_user: str = "candor"
    postgres_database: str = "candor"
    topic_prefix: str = ""
    host: str = "127.0.0.1"
    proxies: str = "127.0.0.1"
    connections: int = 4_000
    ingest_port: int = 8010
    consent_port: int = 8020
    profile_port: int = 8030
    segment_port: int = 8040
    keyring: Path = ROOT / ".candor" / "keyring.json"
    policy: Path = ROOT / "deploy" / "policy.yaml"
    ingest_rules: Path = ROOT / "deploy" / "ingest.yaml"
    plan: Path = ROOT / "deploy" / "plan.yaml"
    theme: Path = ROOT / "deploy" / "theme.css"
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read ``CANDOR_*``. Raises InvalidSettings naming every variable that is missing or wrong."""
        values: dict[str, Any] = {}
        problems = []
        for name, (read, expected) in _VARIABLES.items():
            variable = f"CANDOR_{name.upper()}"
            text = environment.get(variable)
            if text is None:
                if name in _REQUIRED:
                    problems.append(f"{variable} is not set (expected {expected})")
                continue
            try:
                values[name] = read(text)
            except ValueError:
                problems.append(f"{variable} is wrong: expected {expected}")
        if problems:
            raise InvalidSettings("\n".join(problems))
        return cls(**values)

    def topic(self, name: str) -> str:
        """The topic's name on this cluster."""
        return self.topic_prefix + name

    def port(self, service: str) -> int:
        port: int = getattr(self, f"{service}_port")
        return port

    def hasher(self) -> Hasher:
        return Hasher(self.identifier_key)


_REQUIRED = ("identifier_key", "postgres_password")
_VARIABLES: dict[str, tuple[Callable[[str], Any], str]] = {
    "identifier_key": (_key, "16 to 64 bytes in hexadecimal"),
    "postgres_password": (str, "a password"),
    "home": (_path, "a folder"),
    "kafka": (str, "host:port"),
    "postgres_host": (str, "a host name"),
    "postgres_port": (_port, "a port"),
    "postgres_user": (str, "a user name"),
    "postgres_database": (str, "a database name"),
    "topic_prefix": (str, "a prefix"),
    "host": (str, "an address to bind to"),
    "proxies": (_proxies, "addresses or networks with commas, or *"),
    "connections": (_count, "a number of connections"),
    "ingest_port": (_port, "a port"),
    "consent_port": (_port, "a port"),
    "profile_port": (_port, "a port"),
    "segment_port": (_port, "a port"),
    "keyring": (_path, "a file"),
    "policy": (_path, "a file"),
    "ingest_rules": (_path, "a file"),
    "plan": (_path, "a file"),
    "theme": (_path, "a file"),
    "log_level": (_level, "DEBUG, INFO, WARNING or ERROR"),
}
