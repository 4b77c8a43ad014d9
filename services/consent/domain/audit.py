"""The audit log: a chain of hashes in which no act can be altered, moved or left out unnoticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from services.kernel.events import AuditAct

START = bytes(32)
"""What the first row is chained to."""


class Act(Struct, frozen=True):
    """An act as the log keeps it: an AuditAct with its ids in hexadecimal."""

    at: int
    key_id: str | None
    actor: str
    why: str | None
    service: str
    action: str
    target: str
    profiles: list[str]
    identifiers: list[str]
    people: int
    outcome: str


@dataclass(frozen=True, slots=True)
class End:
    """The end of the chain: the last row's position (0 before the first) and hash."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the log: ``act`` is canonical JSON; partition and offset are its place in audit.acts."""

    position: int
    partition: int
    offset: int
    at: int
    act: str
    hash: bytes


def append(end: End, partition: int, offset: int, act: AuditAct) -> tuple[Row, End]:
    """The row that follows ``end``, and the new end of the chain."""
    fields = msgspec.structs.asdict(act)
    for name in ("profiles", "identifiers"):
        fields[name] = [id.hex() for id in fields[name]]
    text = msgspec.json.encode(fields, order="deterministic").decode()
    position = end.position + 1
    row = Row(position, partition, offset, act.at, text, _hash(end.hash, position, partition, offset, text))
    return row, End(position, row.hash)


def read_act(row: Row) -> Act:
    """Raises msgspec.DecodeError for anything that ``append`` did not write."""
    return msgspec.json.decode(row.act, type=Act)


def broken(rows: Iterable[Row], after: End) -> Iterator[End | str]:
    """Check rows that follow ``after``: yields the end of the chain after each sound row, and for the first
    row that is not, what is wrong with it."""
    for row in rows:
        if row.position != after.position + 1:
            yield f"position {after.position + 1}: the row is missing"
            return
        expected = _hash(after.hash, row.position, row.partition, row.offset, row.act)
        if row.hash != expected or read_act(row).at != row.at:
            yield f"position {row.position}: altered or moved"
            return
        after = End(row.position, row.hash)
        yield after


@dataclass(slots=True)
class Exposure:
    """What one actor did of one kind. ``named``: profiles, or the identifiers by which people were asked for
    where no profile is known. ``unnamed``: people in lists, who may be some of the same."""

    acts: int = 0
    named: set[str] = field(default_factory=set)
    unnamed: int = 0
    first: int = 0
    last: int = 0

    @property
    def people(self) -> int:
        """How many people at most."""
        return len(self.named) + self.unnamed

    def add(self, act: Act) -> None:
        self.first = min(self.first, act.at) if self.acts else act.at
        self.last = max(self.last, act.at)
        self.acts += 1
        if act.people:
            self.named.update(act.profiles or act.identifiers)
            self.unnamed += 0 if act.profiles or act.identifiers else act.people


def _hash(previous: bytes, position: int, partition: int, offset: int, act: str) -> bytes:
    place = position.to_bytes(8, "big") + partition.to_bytes(4, "big") + offset.to_bytes(8, "big")
    return hashlib.sha256(previous + place + hashlib.sha256(act.encode()).digest()).digest()
