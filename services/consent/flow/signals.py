"""What the gate and the profile service learnt: links between identifiers, and GPC headers seen first.

No signal may be lost: passing over one could let through what a person opted out of. So one that can't be
read stops its partition until it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from services.consent import store
from services.consent.domain.rule import GPC, Pair
from services.consent.flow.changes import Change, Decide, Link
from services.consent.flow.decisions import GROUP_CHANGES, Decisions
from services.kernel import codec, metrics
from services.kernel.consume import BatchLoop
from services.kernel.events import ConsentSignal, IdentityLink
from services.kernel.handler import BaseHandler, Batch, PartitionStopped, Record
from services.kernel.health import Health
from services.kernel.identifier import HASH_SIZE, join
from services.kernel.outcome import BadRecord, Dead
from services.kernel.policy.watching import InForce
from services.kernel.postgres import Pool
from services.kernel.settings import Settings

SIGNALS = "consent.signals"
LINKS = "identity.links"
STAGE = "signals"
GROUP = "consent-signals"


def signals_loop(settings: Settings, signals: Signals, health: Health) -> BatchLoop:
    """The loop that feeds the handler."""
    return BatchLoop(
        settings, group=GROUP, topics=[SIGNALS, LINKS], handler=signals, stage=STAGE, health=health
    )


class Signals(BaseHandler):
    """Applies consent.signals and identity.links, in any order, any number of times."""

    def __init__(self, settings: Settings, pool: Pool, decisions: Decisions, policies: InForce) -> None:
        self._signals = settings.topic(SIGNALS)
        self._pool = pool
        self._decisions = decisions
        self._policies = policies

    async def handle(self, batch: Batch) -> int:
        records = [record for records in batch.values() for record in records]
        changes = [change for record in records for change in self._changes(record)]
        changes = await self._without_known_links(changes)
        for start in range(0, len(changes), GROUP_CHANGES):
            await self._decisions.submit(changes[start : start + GROUP_CHANGES])
        metrics.RECORDS.labels(STAGE, "ok").inc(len(records))
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        raise PartitionStopped(record, why)

    def _changes(self, record: Record) -> Iterable[Change]:
        """Raises BadRecord."""
        if record.topic != self._signals:
            link = codec.decode(IdentityLink, record.value)
            _check((link.child, link.parent))
            return _links([link.child, link.parent])
        signal = codec.decode(ConsentSignal, record.value)
        _check(signal.identifiers)
        links = _links(signal.identifiers)
        match signal.kind:
            case "link":
                return links
            case "gpc":
                return [*links, self._gpc(signal)]
            case _:
                raise BadRecord("unknown_kind", "kind")

    def _gpc(self, signal: ConsentSignal) -> Decide:
        """Named by the event and by whom it names: senders reuse message ids, also for other people."""
        identifiers = frozenset(signal.identifiers)
        named = blake2b(join(sorted(identifiers)), digest_size=8).hexdigest()
        return Decide(
            source=f"gpc {signal.source}",
            id=f"{signal.message_id} {named}",
            identifiers=identifiers,
            purposes=dict.fromkeys(self._policies.current.gpc.denies, "deny"),
            method=GPC,
            record=b"{}",
        )

    async def _without_known_links(self, changes: Sequence[Change]) -> list[Change]:
        """Each link once, and none that is on record, as most are."""
        pairs = list(dict.fromkeys(change.pair for change in changes if isinstance(change, Link)))
        async with self._pool.acquire() as connection:
            known = await store.known_links(connection, pairs)
        new: list[Change] = [Link(pair) for pair in pairs if pair not in known]
        return new + [change for change in changes if not isinstance(change, Link)]


def _check(identifiers: Iterable[bytes]) -> None:
    sizes = {len(identifier) for identifier in identifiers}
    if sizes != {HASH_SIZE}:
        raise BadRecord("bad_identifier", "identifiers")


def _links(identifiers: list[bytes]) -> list[Change]:
    """All identifiers of an event belong to the one it is routed by, the first."""
    pairs: list[Pair] = [(identifiers[0], other) for other in identifiers[1:] if other != identifiers[0]]
    return [Link(pair) for pair in pairs]
