"""The keyring file: keys with the hashes of their tokens; one editor at a time, replaced in one step."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services.kernel.outcome import CandorError

Time = Annotated[datetime, Meta(tz=True)]


class KeyProblem(CandorError):
    """What was asked of the keyring can not be done; the message says why."""


class LiveToken(Struct, frozen=True):
    """What is kept of a token of a key. ``ends``: None when it lives as long as the key."""

    hash: str
    created: Time
    ends: Time | None = None


class Key(Struct, frozen=True):
    """A key without its secrets.

    ``source``: what events written with it are marked with; None can't write. ``tokens``: two at most, the
    newest last. ``rate_events``, ``rate_bytes``: what ingest takes of it a second; None is the default.
    """

    id: str
    name: str
    kind: str
    source: str | None
    created: Time
    tokens: tuple[LiveToken, ...] = ()
    scopes: frozenset[str] = frozenset()
    expires: Time | None = None
    rate_events: int | None = None
    rate_bytes: int | None = None


def read_keys(path: Path) -> list[Key]:
    """All keys, oldest first. Raises OSError, and KeyProblem when the file is not a keyring."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Key])
    except msgspec.DecodeError as error:
        raise KeyProblem(f"{path.name}: {error}") from error


@contextmanager
def edited(path: Path) -> Iterator[list[Key]]:
    """The keys, to be changed in place and written back in one step at the end; one editor at a time."""
    with locked(path):
        keys = read_keys(path) if path.exists() else []
        yield keys
        replace(path, msgspec.json.format(msgspec.json.encode(keys, order="deterministic")) + b"\n")


def read_used(path: Path) -> dict[str, datetime]:
    """When keys were last used, by id, as the services have written it beside the keyring."""
    used = _used(path)
    return msgspec.json.decode(used.read_bytes(), type=dict[str, Time]) if used.exists() else {}


def merge_used(path: Path, noted: Mapping[str, datetime]) -> None:
    """Add to :func:`read_used` what one process noted: the later time counts, and keys that are gone go."""
    with locked(path):
        known = {key.id for key in read_keys(path)}
        before = read_used(path)
        latest = {
            id: max(time for time in (before.get(id), noted.get(id)) if time is not None)
            for id in sorted(known & (before.keys() | noted.keys()))
        }
        if latest != before:
            replace(_used(path), msgspec.json.encode(latest))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the keyring's lock; others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def replace(path: Path, data: bytes) -> None:
    """Write the file in one step, readable for its owner alone."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def _used(path: Path) -> Path:
    return path.with_suffix(".used.json")
