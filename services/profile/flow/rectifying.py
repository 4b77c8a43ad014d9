"""A person puts traits right: an event that profile itself makes, keeps and applies, in one transaction.

So it is history as every event is: replays of older ones do not undo it, and `candor verify` agrees with it.
Nobody's consent is asked: it is the person who speaks.
"""

from __future__ import annotations

from typing import Any

import msgspec

from services.kernel import codec
from services.kernel.clock import DAY, Clock
from services.kernel.events import Event
from services.kernel.identifier import USER_ID, Hasher, Identifier
from services.kernel.outcome import Outage
from services.kernel.postgres import Connection, Pool
from services.kernel.relay import notify
from services.profile import store
from services.profile.domain.forest import Forest
from services.profile.domain.observation import observe
from services.profile.flow.reading import message_key
from services.profile.store import CHANNEL, Kept

SOURCE = "candor.rectification"
NOWHERE = -1
"""For its partition: it stands in no topic."""
MAX_ATTEMPTS = 20


class Rectifying:
    """Applies rectifications."""

    def __init__(self, pool: Pool, hasher: Hasher, clock: Clock) -> None:
        self._pool = pool
        self._hasher = hasher
        self._clock = clock

    async def apply(self, id: str, identifiers: list[Identifier], traits: dict[str, Any]) -> bool:
        """Put traits right at the first identifier that has a facet, user_ids first. False where none has.
        Doing it again with the same id changes nothing. Raises Outage."""
        for identifier in sorted(identifiers, key=lambda one: (one.kind != USER_ID, one.value)):
            if await self._apply(self._event(id, identifier, traits)):
                return True
        return False

    async def _apply(self, event: Event) -> bool:
        facet = observe(event, self._hasher).facet
        await store.add_days(self._pool, [event.received_day])
        wanted = {facet}
        for _ in range(MAX_ATTEMPTS):
            async with self._pool.acquire() as connection, connection.transaction():
                nodes = await store.lock_facets(connection, wanted)
                if facet not in {node.id for node in nodes}:
                    return False
                forest = Forest(nodes, wanted)
                forest.apply(observe(event, self._hasher))
                if not forest.missing:
                    await self._write(connection, event, forest)
                    return True
            wanted |= forest.missing
        raise Outage("rectifying: facets changed meanwhile", dependency="postgres")

    async def _write(self, connection: Connection, event: Event, forest: Forest) -> None:
        key = message_key(event.source, event.message_id)
        if not await store.insert_message_ids(connection, [(event.received_day, key)]):
            return
        facet = observe(event, self._hasher).facet
        place = (NOWHERE, event.received_at)
        kept = Kept(event.received_day, facet, event.timestamp, *place, "", codec.encode(event))
        await store.keep_events(connection, [kept])
        await store.write_facets(connection, [forest.nodes[id] for id in forest.changed])
        await store.mark(connection, forest.marks())
        await notify(connection, CHANNEL)

    def _event(self, id: str, identifier: Identifier, traits: dict[str, Any]) -> Event:
        now = self._clock.now()
        is_user = identifier.kind == USER_ID
        return Event(
            message_id=id,
            source=SOURCE,
            type="identify",
            name=None,
            user_id=identifier.value if is_user else None,
            anonymous_id=None if is_user else identifier.value,
            previous_id=None,
            group_id=None,
            timestamp=now,
            timestamp_bounded=False,
            received_at=now,
            received_day=now // DAY,
            payload=msgspec.json.encode({"traits": traits}),
        )
