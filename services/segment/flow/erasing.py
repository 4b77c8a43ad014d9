"""The path of an erasure: the profile's tombstone takes the copy and makes the exits (judging.py), the relay
takes the names out of the transitions that are kept, once they are published; then this answers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from services.kernel import codec, metrics
from services.kernel.clock import Clock
from services.kernel.events import PrivacyResult
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.message import Message
from services.kernel.outcome import Dead
from services.kernel.postgres import Pool
from services.kernel.privacy import asked_of
from services.kernel.produce import BatchProducer
from services.segment.store.erasing import copies_of, forget_names, has_unpublished
from services.segment.store.statements import SERVICE

REQUESTS = "privacy.requests"
RESULTS = "privacy.results"
STAGE = "segment-erasing"

log = logging.getLogger(__name__)


class Erasing(BaseHandler):
    """Handler of privacy.requests. One that is too early is not answered: consent asks again."""

    def __init__(self, pool: Pool, producer: BatchProducer, clock: Clock) -> None:
        self._pool = pool
        self._producer = producer
        self._clock = clock

    async def handle(self, batch: Batch) -> int:
        """Raises BadRecord for a request that can't be read."""
        for request in asked_of(SERVICE, batch):
            counts = await self.erase(request.identifiers, request.erased_at)
            if counts is not None:
                await self._answer(request.id, "done", counts)
        metrics.RECORDS.labels(STAGE, "ok").inc(sum(map(len, batch.values())))
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        """Consent asks again, and shows that it failed."""
        await self._answer((record.key or b"").decode("utf-8", "replace"), "failed", {}, why.reason)

    async def erase(self, ids: Sequence[bytes], erased_at: int) -> dict[str, int] | None:
        """How much is gone of these profiles; None while a copy from before the cut (µs) stands
        or an exit is on its way."""
        async with self._pool.acquire() as connection, connection.transaction():
            copies = await copies_of(connection, ids)
            if any(copy is not None and copy.received_at < erased_at for copy in copies):
                log.info("an erasure waits for its tombstone", extra={"stage": STAGE})
                return None
            if await has_unpublished(connection, ids):
                log.info("an erasure waits until its exits are published", extra={"stage": STAGE})
                return None
            await forget_names(connection, ids)
        return {"copies": sum(copy is None for copy in copies)}

    async def _answer(self, request: str, state: str, counts: dict[str, int], detail: str = "") -> None:
        result = PrivacyResult(request, SERVICE, state, self._clock.now(), counts, detail)
        await self._producer.produce(RESULTS, None, [Message(request.encode(), codec.encode(result))])
