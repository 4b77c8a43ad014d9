"""Reading one profile whole, with what it may be used for now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.kernel.clock import Clock
from services.kernel.events import GoldenRecord
from services.kernel.permission import Judge
from services.kernel.postgres import Pool
from services.kernel.view import View
from services.profile import store, store_privacy
from services.profile.domain.golden import Member, fold, place
from services.profile.store import Kept, Profile


class Shown(NamedTuple):
    """A profile and its golden record, folded this moment."""

    profile: Profile
    record: GoldenRecord


class Profiles:
    """The profiles as they stand in Postgres, also those whose golden record is not published yet."""

    def __init__(self, pool: Pool, view: View, judge: Judge, clock: Clock) -> None:
        self._pool = pool
        self._view = view
        self._judge = judge
        self._clock = clock

    async def find(self, id: bytes) -> Shown | None:
        """The profile that this identifier hash belongs to, or that this profile id was merged into."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            profile = await store.find_profile(connection, id)
        if profile is None:
            return None
        states = self._view.get_many(member.id for member in profile.members)
        basis = self._judge.policy.profile_basis(place(profile.members))
        allowed = self._judge.judge(states, None, self._clock.now(), basis).allowed
        return Shown(profile, fold(profile.root, profile.members, allowed, 0))

    async def settled(self) -> None:
        """Return once all that was judged by decisions before this call is written. Raises Outage."""
        await self._view.barrier()
        await store_privacy.outlast(self._pool)

    async def whole(self, ids: Iterable[bytes]) -> list[Profile]:
        """The profiles that these identifiers belong to, each once, all of one moment."""
        found: dict[bytes, Profile] = {}
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            for id in ids:
                profile = await store.find_profile(connection, id)
                if profile is not None:
                    found[profile.root] = profile
        return [found[root] for root in sorted(found)]

    def purposes(self, members: Sequence[Member]) -> list[str]:
        """What facets may be used for together now."""
        states = self._view.get_many(member.id for member in members)
        basis = self._judge.policy.profile_basis(place(members))
        return list(self._judge.judge(states, None, self._clock.now(), basis).allowed)

    async def events_after(
        self, facets: Iterable[bytes], place: tuple[int, int, int], limit: int
    ) -> list[Kept]:
        """Applied events by (event time, partition, offset), those after that place."""
        async with self._pool.acquire() as connection:
            return await store.events_page(connection, facets, place, limit)

    async def history(self, profile: Profile, until: int, limit: int) -> list[Kept]:
        """Its applied events with an event time of at most ``until`` (µs), the newest first."""
        async with self._pool.acquire() as connection:
            return await store.history(connection, [member.id for member in profile.members], until, limit)
