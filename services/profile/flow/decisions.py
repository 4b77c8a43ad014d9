"""The second input: decisions change what a profile may be used for, so it is published anew."""

from __future__ import annotations

from services.kernel import codec
from services.kernel.clock import Clock
from services.kernel.deadletter import DeadLetters
from services.kernel.events import ConsentState
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.outcome import Dead
from services.kernel.postgres import Pool
from services.kernel.relay import notify
from services.profile import store
from services.profile.store import CHANNEL


class Decisions(BaseHandler):
    """Handler of consent.state: marks the profiles of the identifiers concerned, durably.

    What purposes hold is not taken from the record: the fold asks the view behind its barrier.
    """

    def __init__(self, pool: Pool, dead_letters: DeadLetters, clock: Clock) -> None:
        self._pool = pool
        self._dead_letters = dead_letters
        self._clock = clock

    async def handle(self, batch: Batch) -> int:
        """Raises BadRecord for a state that can't be read."""
        now = self._clock.now()
        ends: dict[bytes, list[int]] = {}
        for records in batch.values():
            for record in records:
                if record.key is not None:
                    ends[record.key] = _ends(record.value, now)
        if ends:
            async with self._pool.acquire() as connection, connection.transaction():
                await store.note_expiries(connection, ends)
                await store.mark_profiles_of(connection, ends)
                await notify(connection, CHANNEL)
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        await self._dead_letters.send([(record, why)])


def _ends(value: bytes | None, now: int) -> list[int]:
    """When the grants of that state end; those that ended count for nothing already."""
    if value is None:
        return []
    state = codec.decode(ConsentState, value)
    return sorted({grant.expires_at for grant in state.granted if grant.expires_at > now})
