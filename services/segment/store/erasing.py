"""What is kept of a person beside the judgements: found for a copy, taken out by an erasure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from services.kernel.codec import decode, encode
from services.kernel.events import GoldenRecord, Transition
from services.kernel.postgres import Connection
from services.segment.domain.copy import Standing
from services.segment.store.statements import SQL


async def copies_of(connection: Connection, profile_ids: Sequence[bytes]) -> list[GoldenRecord | None]:
    """The copies of golden records, None for each profile that is gone."""
    rows = await connection.fetch(SQL.copies_of, profile_ids)
    return [None if row["value"] is None else decode(GoldenRecord, row["value"]) for row in rows]


async def memberships_of(connection: Connection, profile_ids: Sequence[bytes]) -> list[Standing]:
    return [Standing(*row) for row in await connection.fetch(SQL.memberships_of, profile_ids)]


async def transitions_of(connection: Connection, profile_ids: Sequence[bytes]) -> list[Transition]:
    """Those that are still kept."""
    rows = await connection.fetch(SQL.transitions_of, profile_ids)
    return [decode(Transition, row["value"]) for row in rows]


async def erased_of(connection: Connection, profile_ids: Sequence[bytes]) -> list[bytes]:
    """Those of the profiles that are gone for good."""
    return [row["profile_id"] for row in await connection.fetch(SQL.erased_of, profile_ids)]


async def has_unpublished(connection: Connection, profile_ids: Sequence[bytes]) -> bool:
    """Whether transitions of these profiles are still to be published."""
    found: bool = await connection.fetchval(SQL.has_unpublished, profile_ids)
    return found


async def forget_names(connection: Connection, profile_ids: Sequence[bytes]) -> int:
    """Take out of published transitions whom these profiles were; of how many. The others keep it until
    they are published, for tools know people by it."""
    rewritten = []
    for row in await connection.fetch(SQL.published_transitions_of, profile_ids):
        transition = decode(Transition, row["value"])
        if transition.user_id is not None or transition.anonymous_ids:
            nameless = replace(transition, user_id=None, anonymous_ids=[])
            rewritten.append((row["partition"], row["position"], encode(nameless)))
    if rewritten:
        await connection.execute(SQL.rewrite_transitions, *zip(*rewritten, strict=True))
    return len(rewritten)
