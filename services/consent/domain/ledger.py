"""The ledger of decisions: a chain of hashes in which no row can be altered, moved or left out unnoticed.

A row has two parts. Its terms are what the rule reads; they name people by keyed hashes alone and stay. Its
record is the proof for the person (raw identifiers, texts shown, addresses); the chain holds only a salted
commitment to it, so that record and salt can be erased and the chain still be verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from services.consent.domain.rule import GPC, Choice, Decision

START = bytes(32)
"""What the first row is chained to."""
SALT_SIZE = 16


class Terms(Struct, frozen=True):
    """``identifiers``: hexadecimal hashes, sorted. ``id`` is unique per ``source``. ``said_at``: 0 where that
    was when it was decided. Else as in Decision."""

    id: str
    source: str
    identifiers: tuple[str, ...]
    purposes: dict[str, Choice]
    method: str
    decided_at: int
    expires_at: int
    said_at: int = 0

    def same_choice(self, other: Terms, ignored: Collection[str]) -> bool:
        """Whether the other one, of the same id, repeats this one, whatever it says of the purposes that are
        ``ignored`` now. (GPC is noted only for whom it is new.)"""
        purposes = {name: choice for name, choice in other.purposes.items() if name not in ignored}
        same = (self.purposes, self.method) == (purposes, other.method)
        return same and (self.method == GPC or self.identifiers == other.identifiers)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: the last row's position (0 before the first), hash and time."""

    position: int
    hash: bytes
    decided_at: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the ledger. ``salt`` and ``record`` are None once they were erased."""

    position: int
    terms: bytes
    salt: bytes | None
    record: bytes | None
    commitment: bytes
    hash: bytes


def hashes(terms: Terms) -> frozenset[bytes]:
    """The identifiers' hashes."""
    return frozenset(map(bytes.fromhex, terms.identifiers))


def append(head: Head, terms: Terms, record: bytes, salt: bytes) -> tuple[Row, Head]:
    """The row that follows ``head``, and the new end of the chain."""
    encoded = msgspec.json.encode(terms, order="deterministic")
    position = head.position + 1
    commitment = _commitment(salt, record)
    row_hash = _hash(head.hash, position, encoded, commitment)
    row = Row(position, encoded, salt, record, commitment, row_hash)
    return row, Head(position, row_hash, terms.decided_at)


def read_terms(encoded: bytes) -> Terms:
    """Raises msgspec.DecodeError for anything that ``append`` did not write."""
    return msgspec.json.decode(encoded, type=Terms)


def decision(position: int, terms: Terms) -> Decision:
    """What the rule reads of a row."""
    return Decision(
        position,
        hashes(terms),
        terms.purposes,
        terms.method,
        terms.decided_at,
        terms.expires_at,
        terms.said_at or terms.decided_at,
    )


def broken(rows: Iterable[Row], after: Head = Head(0, START, 0)) -> Iterator[Head | str]:
    """Check rows that follow ``after``: yields the end of the chain after each sound row, and for the first
    row that is not, what is wrong with it."""
    for row in rows:
        if row.position != after.position + 1:
            yield f"position {after.position + 1}: the row is missing"
            return
        if row.hash != _hash(after.hash, row.position, row.terms, row.commitment):
            yield f"position {row.position}: altered"
            return
        if (row.record is None) != (row.salt is None) or (
            row.record is not None
            and row.salt is not None
            and _commitment(row.salt, row.record) != row.commitment
        ):
            yield f"position {row.position}: its record was altered"
            return
        after = Head(row.position, row.hash, read_terms(row.terms).decided_at)
        yield after


def _commitment(salt: bytes, record: bytes) -> bytes:
    return hashlib.sha256(salt + record).digest()


def _hash(previous: bytes, position: int, terms: bytes, commitment: bytes) -> bytes:
    return hashlib.sha256(
        previous + position.to_bytes(8, "big") + hashlib.sha256(terms).digest() + commitment
    ).digest()
