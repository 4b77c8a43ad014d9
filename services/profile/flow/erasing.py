"""The path of an erasure: wait for what was judged before the cut → one transaction that takes the facets,
their events and evidence out → tombstones by the relay → answer.

What is left is what the other events would have made alone, so `candor verify` agrees with it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from services.kernel import codec, metrics
from services.kernel.clock import Clock
from services.kernel.events import Event, PrivacyResult
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.identifier import Hasher
from services.kernel.message import Message
from services.kernel.outcome import Dead, Outage
from services.kernel.postgres import Connection, Pool
from services.kernel.privacy import asked_of
from services.kernel.produce import BatchProducer
from services.kernel.relay import notify
from services.kernel.topics import registry
from services.kernel.view import View
from services.profile import store, store_privacy
from services.profile.domain.erasing import family, needed, without
from services.profile.domain.forest import Forest, Node
from services.profile.domain.observation import observe
from services.profile.store import CHANNEL, Kept

REQUESTS = "privacy.requests"
RESULTS = "privacy.results"
PROFILES = "profiles.state"
SERVICE = "profile"
STAGE = "profile-erasing"
MAX_ATTEMPTS = 20
LONGEST_SECONDS = 60
"""Of an erasure's transaction: a person may have many events, and nobody's judgement is made in it."""


class Erasing(BaseHandler):
    """Handler of privacy.requests. Doing a request again finds nothing left to do."""

    def __init__(self, pool: Pool, view: View, hasher: Hasher, producer: BatchProducer, clock: Clock) -> None:
        self._pool = pool
        self._view = view
        self._hasher = hasher
        self._producer = producer
        self._clock = clock
        self._again = int(registry()[PROFILES].config["segment.ms"]) * 1000

    async def handle(self, batch: Batch) -> int:
        """Raises BadRecord for a request that can't be read."""
        for request in asked_of(SERVICE, batch):
            counts = await self.erase(set(request.identifiers), request.erased_at)
            await self._answer(request.id, "done", counts)
        metrics.RECORDS.labels(STAGE, "ok").inc(sum(map(len, batch.values())))
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        """Consent asks again, and shows that it failed."""
        await self._answer((record.key or b"").decode("utf-8", "replace"), "failed", {}, why.reason)

    async def erase(self, named: Set[bytes], erased_at: int) -> dict[str, int]:
        """Erase what began before ``erased_at`` (µs) of these facets; returns how much that was."""
        await self._view.barrier()  # events that began before are dropped from now on
        await store_privacy.outlast(self._pool)
        wanted = set(named)
        async with store_privacy.unhurried(self._pool, LONGEST_SECONDS) as connection:
            for _ in range(MAX_ATTEMPTS):
                try:
                    async with connection.transaction():
                        return await self._transaction(connection, named, wanted, erased_at)
                except _More as more:
                    wanted |= more.ids
        raise Outage(f"{STAGE}: facets changed {MAX_ATTEMPTS} times meanwhile", dependency="postgres")

    async def _transaction(
        self, connection: Connection, named: Set[bytes], wanted: set[bytes], erased_at: int
    ) -> dict[str, int]:
        nodes = {node.id: node for node in await store.lock_facets(connection, wanted)}
        erased = family(nodes, named)
        evidence = await store_privacy.evidence_of(connection, erased)
        more = (erased | needed(nodes, erased, evidence)) - wanted
        if more:
            raise _More(more)
        gone, left = _split(await store_privacy.delete_events(connection, erased), erased_at)
        forest = without(nodes, erased, evidence, wanted)
        for kept in left:
            forest.apply(observe(codec.decode(Event, kept.record), self._hasher))
        if forest.missing:
            raise _More(forest.missing)
        found = [nodes[id] for id in erased if id in nodes]
        await self._write(connection, forest, found, left)
        return {"events": gone, "facets": len(found)}

    async def _write(
        self, connection: Connection, forest: Forest, found: Sequence[Node], left: Sequence[Kept]
    ) -> None:
        """Put what is left in the place of the facets found."""
        ids = [node.id for node in found]
        roots = sum(node.root == node.id for node in found)
        children = {child for node in found for child in node.facet.links}
        await store.keep_events(connection, left)
        await store_privacy.delete_facets(connection, ids, children)
        if not await store.write_facets(connection, [forest.nodes[id] for id in forest.changed]):
            raise _More(set())
        await store.write_evidence(connection, forest.evidence)
        await store_privacy.count_gone(connection, roots - forest.profiles)
        # All of them: those that are no root may have been one, under which segments still know the person.
        await store.mark(connection, sorted({*ids, *forest.marks()}))
        await store_privacy.mark_again(connection, ids, self._clock.now() + self._again)
        await notify(connection, CHANNEL)

    async def _answer(self, request: str, state: str, counts: dict[str, int], detail: str = "") -> None:
        result = PrivacyResult(request, SERVICE, state, self._clock.now(), counts, detail)
        await self._producer.produce(RESULTS, None, [Message(request.encode(), codec.encode(result))])


class _More(Exception):
    """The transaction needs other facets locked too, or lost one that another transaction made."""

    def __init__(self, ids: set[bytes]) -> None:
        super().__init__()
        self.ids = ids


def _split(events: Sequence[Kept], erased_at: int) -> tuple[int, list[Kept]]:
    """How many began before the cut, and the others: a person may have come back since."""
    left = [kept for kept in events if codec.decode(Event, kept.record).received_at >= erased_at]
    return len(events) - len(left), left
