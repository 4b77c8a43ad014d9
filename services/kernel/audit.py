"""The audit log's door: who read a person's data, and who administered what, and why.

An act is durable in the topic ``audit.acts`` before the answer is given: what can't be logged is not done.
The consent service chains the acts.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

from services.kernel import codec
from services.kernel.clock import Clock, SystemClock
from services.kernel.events import AuditAct
from services.kernel.masking import cards
from services.kernel.message import Message
from services.kernel.outcome import Outage
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings

TOPIC = "audit.acts"
MAX_REASON = 500
"""Characters."""
MAX_TARGET = 300
EXPOSED_SECONDS = 1.0
EXPOSED_PEOPLE = 500

log = logging.getLogger(__name__)

Outcome = Literal["allowed", "refused"]


class Actor(NamedTuple):
    """Who acts and why. ``key_id``: None for a user of the operating system."""

    key_id: str | None
    name: str
    why: str | None = None


class Audit:
    """Writes the acts of one service."""

    def __init__(self, producer: BatchProducer, clock: Clock, service: str) -> None:
        self._producer = producer
        self._clock = clock
        self._service = service
        self._closing: set[asyncio.Task[None]] = set()

    async def note(
        self,
        actor: Actor,
        action: str,
        *,
        target: str = "",
        profiles: Collection[bytes] = (),
        identifiers: Collection[bytes] = (),
        people: int = 0,
        outcome: Outcome = "allowed",
    ) -> None:
        """Make an act durable: call it before the act is done or the data given out.

        ``people``: how many people's data it gives out. Raises Outage when it can't be made durable now:
        then refuse.
        """
        act = AuditAct(
            at=self._clock.now(),
            key_id=actor.key_id,
            actor=actor.name,
            why=actor.why,
            service=self._service,
            action=action,
            target=cards.mask(target)[0][:MAX_TARGET],
            profiles=sorted(profiles),
            identifiers=sorted(identifiers),
            people=people,
            outcome=outcome,
        )
        key = (actor.key_id or actor.name).encode("utf-8", "replace")
        await self._producer.produce(TOPIC, None, [Message(key, codec.encode(act))])

    def note_later(self, exposed: Exposed) -> None:
        """Log what is left of a stream whose reader is gone, and who waits for it no longer."""
        task = asyncio.create_task(_log_last(exposed))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class Exposed:
    """Who is shown in a stream that has no end of its own.

    Its beginning is one act, ahead of everything. Then those shown are named in an act before the first of
    them is shown, or at most a second later, 500 people or the next heartbeat at the latest; so an act comes
    about once a second. A process that is killed leaves unnamed whom it showed since: the beginning says so.
    """

    def __init__(self, audit: Audit, actor: Actor, action: str, target: str) -> None:
        self._audit = audit
        self._actor = actor
        self._action = action
        self._target = target
        self._logged = float("-inf")
        self._profiles: set[bytes] = set()
        self._identifiers: set[bytes] = set()

    async def begin(self) -> None:
        """Log that the stream begins. Raises Outage."""
        await self._audit.note(self._actor, self._action, target=self._target)

    async def show(self, *, profile: bytes | None = None, identifiers: Collection[bytes] = ()) -> None:
        """Call it before a record of theirs is shown, and (with nobody) at heartbeats. Raises Outage: then
        show nothing more."""
        if profile is not None:
            self._profiles.add(profile)
        self._identifiers.update(identifiers)
        waiting = len(self._profiles) + len(self._identifiers)
        if waiting and (waiting >= EXPOSED_PEOPLE or time.monotonic() - self._logged >= EXPOSED_SECONDS):
            await self.log()

    async def log(self) -> None:
        """Log who is not logged yet. Raises Outage."""
        if not (self._profiles or self._identifiers):
            return
        profiles, identifiers = self._profiles, self._identifiers
        self._profiles, self._identifiers = set(), set()
        self._logged = time.monotonic()
        await self._audit.note(
            self._actor,
            self._action,
            target=self._target,
            profiles=profiles,
            identifiers=identifiers,
            people=len(profiles) or len(identifiers),
        )


async def _log_last(exposed: Exposed) -> None:
    try:
        await exposed.log()
    except Outage as error:
        log.error("who was shown last in a stream can't be logged", extra={"why": str(error)})


@asynccontextmanager
async def command_line(settings: Settings, why: str | None) -> AsyncIterator[tuple[Audit, Actor]]:
    """The audit log for one command, and its user as the actor. Raises Outage when Kafka does not answer."""
    producer = BatchProducer(settings, "candor-cli")
    await producer.start()
    try:
        yield Audit(producer, SystemClock(), "cli"), Actor(None, getpass.getuser(), bounded(why))
    finally:
        await producer.stop()


def bounded(why: str | None) -> str | None:
    """A reason as it is kept: one line, without control characters and card data, cut; None when nothing is
    left."""
    if why is None:
        return None
    line = "".join(letter if letter.isprintable() else " " for letter in why).strip()
    return cards.mask(line)[0][:MAX_REASON] or None
