"""Looking for what the catalog lacks: a few payloads a second of those that the gate lets through."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Mapping

from services.consent import store
from services.consent.domain.unlisted import Unlisted, make_room, unlisted
from services.kernel import codec
from services.kernel.clock import DAY, Clock
from services.kernel.events import Event
from services.kernel.message import Message
from services.kernel.outcome import BadRecord
from services.kernel.policy.watching import InForce
from services.kernel.postgres import OUTAGES, RETRY, Pool

SAMPLES = 50
"""Payloads looked at in a second, each in about 20 µs."""
MAX_VALUE = 64_000
"""Bytes of a record that may wait to be looked at."""
KEPT = 30 * DAY
"""So long after it was last seen, what the catalog lacks is shown."""
PER_SOURCE = 300
"""Names kept of a source: senders choose names."""
STANDS = DAY
"""So long a name keeps its place whatever else comes."""
_AGAIN_SECONDS = 60
"""A name that goes on coming is noted so often."""
_REMEMBERED = 10_000

log = logging.getLogger(__name__)


class Search:
    """Looks at samples once a second, away from the gate's path; ``offer`` only keeps them."""

    def __init__(self, pool: Pool, policies: InForce, clock: Clock) -> None:
        self._pool = pool
        self._policies = policies
        self._clock = clock
        self._waiting: deque[bytes] = deque(maxlen=SAMPLES)
        self._noted: dict[Unlisted, float] = {}

    def offer(self, permitted: Mapping[int, tuple[list[Message], int]]) -> None:
        """Keep some of a batch that the gate let through, until there are SAMPLES."""
        for messages, _ in permitted.values():
            wanted = SAMPLES - len(self._waiting)
            if not wanted:
                return
            for message in messages[:: max(1, len(messages) // wanted)][:wanted]:
                if message[1] is not None and len(message[1]) <= MAX_VALUE:
                    self._waiting.append(message[1])

    async def run(self) -> None:
        """Look until cancelled. What is found while Postgres does not answer is found again."""
        while True:
            await asyncio.sleep(1)
            found = self._new()
            if found:
                try:
                    await self._note(found)
                except (*OUTAGES, *RETRY) as error:
                    log.info("what the catalog lacks can't be noted now", extra={"why": type(error).__name__})

    def _new(self) -> list[Unlisted]:
        """What the samples hold that was not noted a moment ago."""
        policy, now = self._policies.current, time.monotonic()
        found: set[Unlisted] = set()
        while self._waiting:
            try:
                found |= unlisted(codec.decode(Event, self._waiting.popleft()), policy)
            except BadRecord:
                continue  # profile makes a dead letter of it
        new = [item for item in found if now - self._noted.get(item, float("-inf")) > _AGAIN_SECONDS]
        random.shuffle(new)  # where there is not room for all, no name can see to it that it comes first
        return new

    async def _note(self, found: list[Unlisted]) -> None:
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            held = await store.lock_unlisted(connection, {item.source for item in found}, now - KEPT)
            noted, leaving = make_room(found, held, now - STANDS, PER_SOURCE)
            await store.note_unlisted(connection, noted, now, leaving)
        if len(self._noted) + len(found) > _REMEMBERED:
            self._noted.clear()
        self._noted |= dict.fromkeys(found, time.monotonic())


async def unlisted_since(pool: Pool, since: int) -> dict[Unlisted, tuple[int, int]]:
    """What the catalog lacked when it was seen, with the first and last time, µs."""
    async with pool.acquire() as connection:
        return await store.read_unlisted(connection, since)
