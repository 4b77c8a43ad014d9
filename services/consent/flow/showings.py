"""How often people were shown what they are asked: counted in memory, written every second."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import NoReturn

from services.consent import store
from services.consent.domain.counting import SHOWN, WHOLE, Asked, Counted
from services.kernel import metrics
from services.kernel.clock import DAY, Clock
from services.kernel.postgres import OUTAGES, RETRY, Pool

WRITE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Showings:
    """Pages tell of every showing, so one transaction each would cost more than a count is worth. A process
    that is killed loses those of its last second."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._counts: Counter[Counted] = Counter()

    def note(self, asked: Asked) -> None:
        self._counts[Counted(asked, WHOLE, SHOWN)] += 1
        metrics.CHOICES.labels(SHOWN, WHOLE, *asked).inc()

    async def write(self) -> None:
        """Write what was noted. What Postgres does not take now stays for the next time."""
        counts, self._counts = self._counts, Counter()
        try:
            async with self._pool.acquire() as connection:
                await store.count_choices(connection, self._clock.now() // DAY, counts)
        except (*OUTAGES, *RETRY) as error:
            self._counts += counts
            log.warning("showings wait to be counted", extra={"why": type(error).__name__})

    async def run(self) -> NoReturn:
        """Write every second, and once more at the end."""
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await self.write()
        finally:
            await self.write()
