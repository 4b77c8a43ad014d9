"""What time does: partitions of days to come and of days gone by, grants that end, a policy that changed, the
count of profiles.

All jobs are idempotent; the service also runs them once when it starts, and a missing day is made when an
event of it comes.
"""

from __future__ import annotations

from services.kernel import metrics
from services.kernel.clock import DAY, SECOND, Clock
from services.kernel.policy.watching import InForce
from services.kernel.postgres import Pool
from services.kernel.relay import notify
from services.kernel.schedule import Schedule
from services.profile import store, store_privacy
from services.profile.store import CHANNEL, DAYS_AHEAD, WINDOW_DAYS

EVENTS_KEPT_DAYS = 3 * 366
"""History, rebuilds and verification reach back so far; facets keep what they know."""
DAYS_SECONDS = 600
EXPIRIES_SECONDS = 5
COUNT_SECONDS = 15
REFOLD_SECONDS = 1
SETTLED_SECONDS = 5
"""So long after a change of the policy every process has taken it up, and folds by it."""
PAGE = 5_000
"""Profiles marked in one transaction."""


class Control:
    """The profile service's scheduled jobs."""

    def __init__(self, pool: Pool, policies: InForce, clock: Clock) -> None:
        self._pool = pool
        self._policies = policies
        self._clock = clock
        self._refolded: tuple[str, int] | None = None

    def schedule(self, schedule: Schedule) -> None:
        schedule.every(DAYS_SECONDS, "profile-days", self.turn_days)
        schedule.every(EXPIRIES_SECONDS, "profile-expiries", self.mark_expired)
        schedule.every(REFOLD_SECONDS, "profile-refold", self.refold)
        schedule.every(COUNT_SECONDS, "profile-count", self.count)

    async def run_once(self) -> None:
        """All jobs, now."""
        await self.turn_days()
        await self.mark_expired()
        await self.count()

    async def turn_days(self) -> None:
        """Make the partitions of today and the days ahead; drop those that nothing can ask for any more."""
        today = self._clock.now() // DAY
        await store.add_days(self._pool, range(today - 1, today + DAYS_AHEAD + 1))
        # One more than the window: the oldest event accepted still probes the day before its own.
        await store.drop_days(self._pool, "message_ids", today - WINDOW_DAYS - 1)
        await store.drop_days(self._pool, "events", today - EVENTS_KEPT_DAYS)

    async def mark_expired(self) -> None:
        """Have profiles with a grant that ended folded again, and tombstones published once more."""
        async with self._pool.acquire() as connection, connection.transaction():
            await store.mark_expired(connection, self._clock.now())
            await store_privacy.mark_erased_again(connection, self._clock.now())
            await notify(connection, CHANNEL)

    async def refold(self) -> None:
        """Have all profiles folded again once a policy is in force that judges them otherwise. How far that
        is stands in Postgres: whoever comes next goes on."""
        # With its time: of a policy that was in force for a moment only, some profiles were folded.
        judging = judged_by, since = self._policies.current.judged_by, self._policies.judging_since
        now = self._clock.now()
        if self._refolded == judging or (since and now < since + SETTLED_SECONDS * SECOND):
            return
        async with self._pool.acquire() as connection, connection.transaction():
            await store.begin_refolding(connection, judged_by, now, since)
        more = True
        while more:
            async with self._pool.acquire() as connection, connection.transaction():
                more = await store.mark_page(connection, PAGE)
                await notify(connection, CHANNEL)
        self._refolded = judging

    async def count(self) -> None:
        async with self._pool.acquire() as connection:
            metrics.PROFILES.set(await store.count_profiles(connection))
