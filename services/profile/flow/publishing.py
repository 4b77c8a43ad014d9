"""What the relays publish: golden records of marked profiles, and new links between identifiers."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.kernel import codec, headers, metrics
from services.kernel.clock import Clock
from services.kernel.events import IdentityLink
from services.kernel.message import MAX_RECORD_BYTES, Message
from services.kernel.permission import Judge
from services.kernel.postgres import Connection
from services.kernel.view import View
from services.profile import store
from services.profile.domain.golden import fold, place, profile_id
from services.profile.store import Profile, QueuedLink

PROFILES = "profiles.state"
LINKS = "identity.links"
MAX_MARKS = 10_000
"""Marks taken up in one round: many may be of one profile, which is folded once."""
MAX_PROFILES = 1_000
"""Profiles published in one round, which keeps rounds under about 100 ms."""
MAX_LINKS = 2_000
YIELD_EVERY = 100

log = logging.getLogger(__name__)

Outgoing = tuple[str, int | None, Message]


class Round(NamedTuple):
    """What to publish now. ``moved``: former roots with the roots that they became part of; ``gone``: facets
    that were erased."""

    positions: list[int]
    version: int
    moved: dict[bytes, bytes]
    gone: set[bytes]
    profiles: list[Profile]


class GoldenRecords:
    """Source of profiles.state: a marked profile once, however often it was marked, with a rising version.

    A round that was not published is tried with half as many profiles: some may be too large to go together
    in the time that there is.
    """

    def __init__(self, view: View, judge: Judge, clock: Clock) -> None:
        self._view = view
        self._judge = judge
        self._clock = clock
        self._limit = MAX_PROFILES
        self._under_way = False

    async def read(self, connection: Connection) -> Round | None:
        if self._under_way:
            self._limit = max(1, self._limit // 2)
        # One snapshot: whoever wrote a mark that is seen wrote facets that are seen too.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        marks = await store.read_marks(connection, MAX_MARKS)
        if not marks:
            return None
        roots: set[bytes] = set()
        positions = []
        for position, root in marks:
            if len(roots) < self._limit:
                roots.add(root)
            if root in roots:
                positions.append(position)
        self._under_way = True
        moved, profiles = await store.read_profiles(connection, roots)
        gone = roots - moved.keys() - {profile.root for profile in profiles}
        return Round(positions, await store.next_version(connection), moved, gone, profiles)

    async def messages(self, rows: Round) -> list[Outgoing]:
        # A decision marks profiles after it stood in the topic: behind the barrier the view holds it.
        await self._view.barrier()
        version = str(rows.version).encode()
        outgoing: list[Outgoing] = []
        for former, root in rows.moved.items():
            tombstone = ((headers.VERSION, version), (headers.MERGED_INTO, profile_id(root).encode()))
            outgoing.append((PROFILES, None, Message(profile_id(former).encode(), None, tombstone)))
        for former in rows.gone:
            outgoing.append(
                (PROFILES, None, Message(profile_id(former).encode(), None, ((headers.VERSION, version),)))
            )
        for number, profile in enumerate(rows.profiles):
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
            value = self._folded(profile, rows.version)
            outgoing.append((PROFILES, None, Message(profile_id(profile.root).encode(), value)))
        return outgoing

    async def published(self, connection: Connection, rows: Round) -> None:
        """Marks set since the round was read stay."""
        await store.unmark(connection, rows.positions)
        self._under_way = False
        self._limit = min(2 * self._limit, MAX_PROFILES)
        metrics.RECORDS.labels("publish", "published").inc(len(rows.profiles))

    def _folded(self, profile: Profile, version: int) -> bytes:
        states = self._view.get_many(member.id for member in profile.members)
        basis = self._judge.policy.profile_basis(place(profile.members))
        verdict = self._judge.judge(states, None, self._clock.now(), basis)
        record = fold(profile.root, profile.members, verdict.allowed, version)
        value = codec.encode(record)
        if len(value) > MAX_RECORD_BYTES:
            # Whoever is in a segment must still leave it when a purpose is withdrawn.
            metrics.RECORDS.labels("publish", "too_large").inc()
            log.error("a golden record is too large: published without facts", extra={"bytes": len(value)})
            record = msgspec.structs.replace(record, traits=b"{}", activity={})
            value = codec.encode(record)
        if len(value) > MAX_RECORD_BYTES:
            metrics.RECORDS.labels("publish", "identifiers_cut").inc()
            log.error("a golden record is too large: some identifiers left out", extra={"bytes": len(value)})
            users, devices = _within(record.user_ids), _within(record.anonymous_ids)
            value = codec.encode(msgspec.structs.replace(record, user_ids=users, anonymous_ids=devices))
        return value


def _within(identifiers: Sequence[str]) -> list[str]:
    """The first of them, as many as take a third of a record with their lengths."""
    ends = itertools.accumulate(len(identifier.encode()) + 5 for identifier in identifiers)
    return [name for name, end in zip(identifiers, ends, strict=True) if end <= MAX_RECORD_BYTES // 3]


class Links:
    """Source of identity.links: each link once per source that showed it."""

    async def read(self, connection: Connection) -> list[QueuedLink] | None:
        return await store.read_links(connection, MAX_LINKS) or None

    async def messages(self, rows: Sequence[QueuedLink]) -> list[Outgoing]:
        return [
            (
                LINKS,
                None,
                Message(
                    link.child,
                    codec.encode(
                        IdentityLink(link.child, link.parent, link.source, link.message_id, link.at)
                    ),
                ),
            )
            for link in rows
        ]

    async def published(self, connection: Connection, rows: Sequence[QueuedLink]) -> None:
        await store.forget_links(connection, [link.position for link in rows])
