"""Reading one profile whole, with what it may be used for now."""

from __future__ import annotations

from typing import NamedTuple

from services.kernel.clock import Clock
from services.kernel.events import GoldenRecord
from services.kernel.permission import Judge
from services.kernel.postgres import Pool
from services.kernel.view import View
from services.profile import store
from services.profile.domain.golden import fold, place
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

    async def history(self, profile: Profile, until: int, limit: int) -> list[Kept]:
        """Its applied events with an event time of at most ``until`` (µs), the newest first."""
        async with self._pool.acquire() as connection:
            return await store.history(connection, [member.id for member in profile.members], until, limit)
