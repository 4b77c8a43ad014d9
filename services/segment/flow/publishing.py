"""What the relays publish: transitions with the membership state that follows, and definitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.kernel import codec, headers
from services.kernel.events import Membership, SegmentDefinition, Transition
from services.kernel.message import Message
from services.kernel.postgres import Connection
from services.segment.store.erasing import erased_of, forget_names
from services.segment.store.statements import PUBLISHED, SQL

BATCH = 1000
"""Transitions of one partition that are published at a time."""
BATCH_BYTES = 16_000_000
"""Transitions carry all of a person's anonymous ids: more could not be written in the time that there is."""


class Transitions:
    """Rows in the order of (partition, position): segments.transitions and, with it, segments.membership."""

    async def read(self, connection: Connection) -> list[Any] | None:
        return await connection.fetch(SQL.unpublished, BATCH, BATCH_BYTES) or None

    async def messages(self, rows: list[Any]) -> Sequence[tuple[str, int | None, Message]]:
        messages: list[tuple[str, int | None, Message]] = []
        for row in rows:
            transition = codec.decode(Transition, row["value"])
            survivor = row["merged_into"]
            merged = ((headers.MERGED_INTO, survivor.hex().encode()),) if survivor else ()
            messages.append(
                ("segments.transitions", None, Message(transition.profile_id.encode(), row["value"], merged))
            )
            messages.append(("segments.membership", None, _membership(transition)))
        return messages

    async def published(self, connection: Connection, rows: list[Any]) -> None:
        """The stream serves rows up to here from now on, without the names of those who are erased."""
        last = {row["partition"]: row["position"] for row in rows}
        await connection.execute(SQL.set_published, list(last), list(last.values()))
        erased = await erased_of(connection, list({row["profile_id"] for row in rows}))
        await forget_names(connection, erased)
        await connection.execute("SELECT pg_notify($1, '')", PUBLISHED)


def _membership(transition: Transition) -> Message:
    key = f"{transition.segment_key}/{transition.profile_id}".encode()
    if not transition.member:
        return Message(key, None)
    membership = Membership(
        transition.segment_key,
        transition.profile_id,
        transition.segment_version,
        transition.sequence,
        transition.occurred_at,
    )
    return Message(key, codec.encode(membership))


class Definitions:
    """Segments whose newest version is not yet on segments.definitions; a tombstone for a deleted one."""

    async def read(self, connection: Connection) -> list[Any] | None:
        return await connection.fetch(SQL.unpublished_segments) or None

    async def messages(self, rows: list[Any]) -> Sequence[tuple[str, int | None, Message]]:
        return [("segments.definitions", None, _definition(row)) for row in rows]

    async def published(self, connection: Connection, rows: list[Any]) -> None:
        keys, versions = [row["key"] for row in rows], [row["version"] for row in rows]
        await connection.execute(SQL.set_published_segments, keys, versions)


def _definition(row: Any) -> Message:
    key = row["key"].encode()
    if row["deleted"]:
        return Message(key, None)
    definition = SegmentDefinition(
        row["key"], row["version"], row["name"], row["purpose"], row["rule"].encode(), row["defined_at"]
    )
    return Message(key, codec.encode(definition))
