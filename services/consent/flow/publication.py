"""From Postgres to consent.state, and back to those who wait until it is there.

The relay may run in another process than the one that took the decision. So both directions go through
Postgres: a notification on commit, and a sweep for one that was lost with its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.consent import store
from services.consent.store import Waiting
from services.kernel.message import Message
from services.kernel.postgres import OUTAGES, Connection, Pool, own_connection
from services.kernel.relay import notify

TOPIC = "consent.state"
UNPUBLISHED = "consent_unpublished"
"""Notified when there are states to publish."""
PUBLISHED = "consent_published"
"""Notified when states have been published."""
AT_ONCE = 5000
SWEEP_SECONDS = 0.5

log = logging.getLogger(__name__)


class StateSource:
    """The relay's source: states that the topic does not show, each as it stands when it is read.

    So a state is never followed by an older one, whatever is published again after a crash.
    """

    async def read(self, connection: Connection) -> list[Waiting] | None:
        return await store.to_publish(connection, AT_ONCE) or None

    async def messages(self, rows: list[Waiting]) -> Sequence[tuple[str, int | None, Message]]:
        current = {row.hash: row.state for row in rows}
        return [(TOPIC, None, Message(hash_, state)) for hash_, state in current.items()]

    async def published(self, connection: Connection, rows: list[Waiting]) -> None:
        await store.mark_published(connection, (row.position for row in rows))
        await notify(connection, PUBLISHED)


@dataclass(slots=True)
class _Waiter:
    positions: Collection[int]
    done: asyncio.Future[None]


class Publications:
    """Tells when states have been published, whichever process did it, while :meth:`run` runs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiters: list[_Waiter] = []
        self._look = asyncio.Event()

    async def wait(self, positions: Collection[int]) -> None:
        """Return once Kafka has acknowledged all these positions of the table unpublished."""
        if not positions:
            return
        waiter = _Waiter(positions, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._look.set()
        try:
            await waiter.done
        finally:
            self._waiters.remove(waiter)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                async with own_connection(self._pool) as connection:
                    await connection.add_listener(PUBLISHED, self._notified)
                    await self._watch(connection)
            except OUTAGES as error:
                log.warning("outage", extra={"part": "publications", "why": type(error).__name__})
                await asyncio.sleep(SWEEP_SECONDS)

    async def _watch(self, connection: Connection) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._look.wait()
            self._look.clear()
            if self._waiters:
                await self._tell(connection)

    async def _tell(self, connection: Connection) -> None:
        waiters = list(self._waiters)
        asked = {position for waiter in waiters for position in waiter.positions}
        remaining = await store.still_unpublished(connection, asked)
        for waiter in waiters:
            if remaining.isdisjoint(waiter.positions) and not waiter.done.done():
                waiter.done.set_result(None)

    def _notified(self, *_: object) -> None:
        self._look.set()
