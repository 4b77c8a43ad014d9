"""The dead letters of one person: found for a copy, counted by an erasure.

They are kept for a while and read by nothing but a replay, which the gate judges anew: what was erased stays
dead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Set
from typing import Any

import msgspec

from services.kernel import codec, metrics
from services.kernel.clock import Clock
from services.kernel.deadletter import TOPIC
from services.kernel.events import DeadLetter, Event, PrivacyResult
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.message import Message
from services.kernel.outcome import BadRecord, Dead
from services.kernel.privacy import asked_of
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.tail import held

REQUESTS = "privacy.requests"
RESULTS = "privacy.results"
SERVICE = "ingest"
STAGE = "ingest-erasing"


async def letters_of(settings: Settings, ids: Set[bytes]) -> AsyncIterator[DeadLetter]:
    """Dead letters that came under these identifiers: one that only names them, as a device does that several
    people share, is somebody else's. Reads the topic whole. Raises Outage."""
    async for record in held(settings, TOPIC):
        if record.key in ids:
            yield codec.decode(DeadLetter, record.value)


def payload_of(letter: DeadLetter) -> Any:
    """What was kept of a dead record, as plain JSON values."""
    try:
        fields = msgspec.to_builtins(codec.decode(Event, letter.payload), builtin_types=(bytes,))
        return {**fields, "payload": _read(fields["payload"])}
    except BadRecord:
        return _read(letter.payload)


def _read(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return data.decode(errors="replace")


class Erasing(BaseHandler):
    """Handler of privacy.requests: answers how many dead letters are left to die away."""

    def __init__(self, settings: Settings, producer: BatchProducer, clock: Clock) -> None:
        self._settings = settings
        self._producer = producer
        self._clock = clock

    async def handle(self, batch: Batch) -> int:
        """Raises BadRecord for a request that can't be read."""
        requests = asked_of(SERVICE, batch)
        counts = Counter[str]()
        if requests:
            async for record in held(self._settings, TOPIC):
                counts.update(one.id for one in requests if record.key in one.identifiers)
        for request in requests:
            await self._answer(request.id, "done", {"dead_letters": counts[request.id]})
        metrics.RECORDS.labels(STAGE, "ok").inc(sum(map(len, batch.values())))
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        """Consent asks again, and shows that it failed."""
        await self._answer((record.key or b"").decode("utf-8", "replace"), "failed", {}, why.reason)

    async def _answer(self, request: str, state: str, counts: dict[str, int], detail: str = "") -> None:
        result = PrivacyResult(request, SERVICE, state, self._clock.now(), counts, detail)
        await self._producer.produce(RESULTS, None, [Message(request.encode(), codec.encode(result))])
