"""API keys: hashed in the keyring file, shown once when they are made.

Every process reads the file again when it changes, so a revoked key stops working within a second.
Keys are random, so a plain SHA-256 is as good as a slow hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from services.kernel.outcome import CandorError, Outage
from services.kernel.settings import Settings

SCOPES = ("consent:read", "consent:write", "profile:read", "segment:read", "segment:admin")
KINDS = {"write": (), "server": ("consent:read", "consent:write", "profile:read"), "admin": SCOPES}
"""Kinds of keys with their scopes. write: public, for apps. server: secret, writes events and decisions."""


MAX_TOKEN = 200
"""Characters; nothing longer is a key."""


class KeyProblem(CandorError):
    """What was asked of the keyring can not be done; the message says why."""


class Key(Struct, frozen=True):
    """A key without its secret. ``source``: what events written with it are marked with; None can't write."""

    id: str
    name: str
    kind: str
    source: str | None
    created: str
    hash: str
    scopes: frozenset[str] = frozenset()


class KeyRing:
    """The live keys of the keyring file, looked up by token.

    While the file can't be read the last known keys stay in force; where none were ever read, look-ups
    raise Outage: to answer that a key is unknown would have SDKs throw their events away.
    """

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._checked = float("-inf")
        self._stamp: tuple[int, int] | None = None
        self._by_hash: dict[str, Key] = {}
        self._by_token: dict[str, Key] = {}

    def write_key(self, token: str) -> Key | None:
        """The key with which events may be written, None when there is no such live key."""
        key = self._find(token)
        return key if key is not None and key.source is not None else None

    def bearer(self, token: str) -> Key | None:
        """The key of an API call, None when there is no such live key."""
        return self._find(token)

    def _find(self, token: str) -> Key | None:
        now = self._monotonic()
        if now - self._checked > 1:
            self._checked = now
            self._refresh()
        key = self._by_token.get(token)
        if key is None and len(token) <= MAX_TOKEN:
            key = self._by_hash.get(_hash(token))
            if key is not None:  # there are no more of these than there are keys
                self._by_token[token] = key
        return key

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._by_hash = {key.hash: key for key in _read(self._path)}
                self._by_token = {}
                self._stamp = stamp
        except (OSError, KeyProblem) as error:
            if self._stamp is None:
                self._checked = float("-inf")
                raise Outage(f"the keyring can't be read: {type(error).__name__}") from error


def create(path: Path, name: str, kind: str, source: str | None = None) -> str:
    """Add a key and return its token, which is kept nowhere. Raises KeyProblem."""
    if kind not in KINDS:
        raise KeyProblem(f"kind: expected one of {', '.join(KINDS)}")
    if kind != "admin" and not source:
        raise KeyProblem(f"source: a {kind} key needs one")
    token = f"candor_{secrets.token_urlsafe(24)}"
    with _edited(path) as keys:
        if any(key.name == name for key in keys):
            raise KeyProblem(f"name: there is a key {name!r} already")
        keys.append(
            Key(
                id=secrets.token_hex(4),
                name=name,
                kind=kind,
                source=source if kind != "admin" else None,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                hash=_hash(token),
                scopes=frozenset(KINDS[kind]),
            )
        )
    return token


def list_keys(path: Path) -> list[Key]:
    """All live keys, oldest first."""
    return _read(path) if path.exists() else []


def revoke(path: Path, name_or_id: str) -> Key:
    """Take a key out of force. Raises KeyProblem when there is none of that name or id."""
    with _edited(path) as keys:
        for key in keys:
            if name_or_id in (key.name, key.id):
                keys.remove(key)
                return key
    raise KeyProblem(f"there is no key {name_or_id!r}")


def ensure_default_keys(settings: Settings) -> dict[str, str]:
    """Make the keys demo-web, demo-server and admin where there are none yet, and keep their tokens in
    keys.json (mode 600) beside the keyring. Returns the tokens by name."""
    shown = settings.home / "keys.json"
    if shown.exists():
        tokens: dict[str, str] = json.loads(shown.read_text())
        return tokens
    known = {key.name for key in list_keys(settings.keyring)}
    wanted = (
        ("demo-web", "write", "demo-web"),
        ("demo-server", "server", "demo-server"),
        ("admin", "admin", None),
    )
    for name, _, _ in wanted:
        if name in known:
            revoke(settings.keyring, name)
    tokens = {name: create(settings.keyring, name, kind, source) for name, kind, source in wanted}
    _write(shown, json.dumps(tokens, indent=2).encode() + b"\n")
    return tokens


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> list[Key]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Key])
    except msgspec.DecodeError as error:
        raise KeyProblem(f"{path.name}: {error}") from error


@contextmanager
def _edited(path: Path) -> Iterator[list[Key]]:
    """The keys, written back in one step at the end; one editor at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = list_keys(path)
        yield keys
        rows: list[Any] = [{**msgspec.to_builtins(key), "scopes": sorted(key.scopes)} for key in keys]
        _write(path, json.dumps(rows, indent=2).encode() + b"\n")


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
