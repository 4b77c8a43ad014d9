"""The path of a person's request: on record → denied and acknowledged → cut → every service does its part.

A request is answered once the denial holds; the rest follows. Each service's part is a step of its own, asked
for again until it is done, whatever failed meanwhile: every step may be done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from services.consent import store_privacy
from services.consent.domain import ledger
from services.consent.domain.copy import is_theirs
from services.consent.domain.request_rights import (
    ACCESS,
    DONE,
    ERASURE,
    FAILED,
    RESTRICTION,
    STEPS,
    WAITING,
    Request,
    Step,
    due_at,
)
from services.consent.domain.rule import EVERY, Decision
from services.consent.flow.changes import Decide
from services.consent.flow.copying import decisions_of
from services.consent.flow.decisions import Decisions
from services.consent.flow.publication import Publications
from services.consent.flow.visitors import VISITOR
from services.consent.store_privacy import Open
from services.kernel import codec, metrics
from services.kernel.audit import Actor
from services.kernel.clock import SECOND, Clock
from services.kernel.consume import BatchLoop
from services.kernel.deadletter import DeadLetters
from services.kernel.events import PrivacyRequest, PrivacyResult
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.health import Health
from services.kernel.identifier import Hasher
from services.kernel.internal import Neighbours
from services.kernel.message import Message
from services.kernel.outcome import Dead, Outage
from services.kernel.postgres import OUTAGES, RETRY, Pool
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings

REQUESTS = "privacy.requests"
RESULTS = "privacy.results"
STAGE = "privacy"
CONSENT = "consent"
AGAIN_SECONDS = 5
"""After so long without an answer a step is asked for again, then after twice as long, and so on."""
RARELY_SECONDS = 5 * 60
"""It does not wait longer than this."""
SWEEP_SECONDS = 0.5
AT_ONCE = 100
AFTER = "profile", "segment"
"""The second has nothing to do before the first has done its part."""
SOURCE = "privacy"
"""Of the ledger's rows that requests make."""

_NOT_NOW: tuple[type[Exception], ...] = (Outage, *OUTAGES, *RETRY)

log = logging.getLogger(__name__)


def results_loop(settings: Settings, pool: Pool, dead_letters: DeadLetters, health: Health) -> BatchLoop:
    """The loop that takes the services' answers."""
    return BatchLoop(
        settings,
        group="consent-privacy",
        topics=[RESULTS],
        handler=Results(pool, dead_letters),
        stage=STAGE,
        health=health,
    )


class Requests:
    """Takes requests and sees to it that each of their steps is done, while :meth:`run` runs."""

    def __init__(
        self,
        pool: Pool,
        decisions: Decisions,
        publications: Publications,
        neighbours: Neighbours,
        producer: BatchProducer,
        hasher: Hasher,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._hasher = hasher
        self._decisions = decisions
        self._publications = publications
        self._neighbours = neighbours
        self._producer = producer
        self._clock = clock
        self._look = asyncio.Event()

    async def open(self, type: str, how: str, named: frozenset[bytes], regime: str) -> Request:
        """Put a request on record. Of an erasure or restriction the denial holds when this returns.

        Raises Outage when that can't be had now; the request then stands, and is worked off.
        """
        now = self._clock.now()
        state, at = (DONE, now) if type == ACCESS else (WAITING, None)
        steps = tuple(Step(service, state, at, {}, "") for service in STEPS[type])
        request = Request(str(uuid.uuid4()), type, how, named, now, due_at(now, regime), steps)
        async with self._pool.acquire() as connection, connection.transaction():
            await store_privacy.add(connection, request, state, at)
        if type in (ERASURE, RESTRICTION):
            await self._deny(request, request.id, named)
            self._look.set()
        return request

    async def settle(
        self, id: str, service: str, state: str, counts: dict[str, int] | None = None, detail: str = ""
    ) -> None:
        """Note what became of a step."""
        async with self._pool.acquire() as connection:
            await store_privacy.settle(
                connection, Open(id, service), state, self._clock.now(), counts, detail
            )

    async def find(self, id: str) -> Request | None:
        async with self._pool.acquire() as connection:
            return await store_privacy.find(connection, id)

    async def of(self, named: Iterable[bytes]) -> list[Request]:
        """The requests that name any of the identifiers, the newest first."""
        async with self._pool.acquire() as connection:
            return await store_privacy.requests_of(connection, named)

    async def person(self, how: str, named: frozenset[bytes], actor: Actor) -> frozenset[bytes]:
        """All identifiers that are reached by those named: of a visitor just these, else the whole person as
        the profile service knows it by now. Raises Outage."""
        if how == VISITOR:
            return named
        asked = {"identifiers": sorted(id.hex() for id in named)}
        found = await self._neighbours.ask("profile", "/v1/privacy/person", asked, actor)
        return named.union(map(bytes.fromhex, found["identifiers"])) if found else named

    async def run(self) -> None:
        """Work off what is open until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._look.wait()
            self._look.clear()
            try:
                await self.work()
            except _NOT_NOW as error:
                log.warning("outage", extra={"part": STAGE, "why": type(error).__name__})

    async def work(self) -> None:
        """Ask once for every step that is open and that nobody has asked for lately."""
        now = self._clock.now()
        async with self._pool.acquire() as connection:
            steps = await store_privacy.take(
                connection, AGAIN_SECONDS * SECOND, now, AT_ONCE, RARELY_SECONDS * SECOND
            )
        for id in {step.request for step in steps}:
            await self._move(id)

    async def _move(self, id: str) -> None:
        request = await self.find(id)
        if request is not None and any(step.service == CONSENT for step in request.open_steps):
            try:
                await self._own_part(request)
            except (Outage, TimeoutError) as error:
                why = str(error) if isinstance(error, Outage) else "not published in time"
                await self.settle(id, CONSENT, FAILED, detail=why)
                return
            request = await self.find(id)
        if request is not None and request.concerned and request.open_steps:
            services = [step.service for step in request.open_steps]
            if AFTER[0] in services and AFTER[1] in services:
                services.remove(AFTER[1])
            concerned = sorted(request.concerned)
            command = PrivacyRequest(id, request.type, services, concerned, request.erased_at)
            await self._producer.produce(REQUESTS, None, [Message(id.encode(), codec.encode(command))])

    async def _own_part(self, request: Request) -> None:
        """What consent itself has to do: the denial, and of an erasure the cut for the whole person, whose
        decisions' records go."""
        denials = [await self._deny(request, request.id, request.named)]
        if request.type != ERASURE:
            await self.settle(request.id, CONSENT, DONE)
            return
        person = await self.person(request.how, request.named, Actor(None, request.how))
        reached = f"{request.id} {_digest(person)}"  # another try may find that the person has grown
        if person != request.named:
            denials.append(await self._deny(request, f"{reached} all", person))
        # A denial lets through what begins before it is acknowledged: only a later time cuts that off too.
        cut = await self._deny(request, f"{reached} cut", person)
        own = {denial.position for denial in (*denials, cut)}  # they say nothing of anybody
        theirs = {
            row.position
            for row in await decisions_of(self._pool, person)
            if row.position < cut.position and is_theirs(row, person, self._hasher)
        }
        async with self._pool.acquire() as connection, connection.transaction():
            erased = await store_privacy.erase_records(connection, theirs - own)
            await store_privacy.settle_cut(connection, request.id, person, cut.decided_at)
            step = Open(request.id, CONSENT)
            await store_privacy.settle(connection, step, DONE, self._clock.now(), {"records": erased})

    async def _deny(self, request: Request, id: str, identifiers: frozenset[bytes]) -> Decision:
        """Deny everything, and wait until the gate can't but see it. Counts once, however often done. Raises
        Outage."""
        record = {"request": request.id, "type": request.type, "origin": request.how}
        change = Decide(
            source=SOURCE,
            id=id,
            identifiers=identifiers,
            purposes={EVERY: "deny"},
            method=request.type,
            record=msgspec.json.encode(record, order="sorted"),
        )
        async with asyncio.timeout(AGAIN_SECONDS):
            (noted,) = await self._decisions.submit([change])
            await self._publications.wait(noted.waiting)
        if noted.conflict or noted.terms is None or noted.position is None:
            raise Outage("another decision has the denial's id")
        return ledger.decision(noted.position, noted.terms)


def _digest(identifiers: Iterable[bytes]) -> str:
    return blake2b(b"".join(sorted(identifiers)), digest_size=16).hexdigest()


class Results(BaseHandler):
    """Handler of privacy.results: what the services say of their steps."""

    def __init__(self, pool: Pool, dead_letters: DeadLetters) -> None:
        self._pool = pool
        self._dead_letters = dead_letters

    async def handle(self, batch: Batch) -> int:
        """Raises BadRecord for an answer that can't be read."""
        results = [
            codec.decode(PrivacyResult, record.value) for records in batch.values() for record in records
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            for result in results:
                step = Open(result.request, result.service)
                state = DONE if result.state == DONE else FAILED
                await store_privacy.settle(connection, step, state, result.at, result.counts, result.detail)
                if step.service == AFTER[0] and state == DONE:
                    await store_privacy.ask_now(connection, Open(result.request, AFTER[1]))
        metrics.RECORDS.labels(STAGE, "ok").inc(len(results))
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        """The step stays open and is asked for again."""
        await self._dead_letters.send([(record, why)])
