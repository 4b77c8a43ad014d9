"""The path of a request: read → collect each call (validate, mask, correct the clock) → encode → produce."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

from msgspec.structs import replace

from services.ingest.domain import calls
from services.ingest.domain.collecting import Collected, Collector
from services.ingest.domain.letters import escaped, without_letters
from services.ingest.domain.payload import Sender, id_masked, kept
from services.ingest.domain.plan import MAX_PLACE, planned_name
from services.ingest.plans import Plans
from services.ingest.rates import Rates
from services.kernel import codec, headers, metrics
from services.kernel.clock import SECOND, Clock
from services.kernel.deadletter import PLAN_REPORTED, DeadLetters, Letter
from services.kernel.events import DeadLetter, Event
from services.kernel.identifier import Hasher, join
from services.kernel.keys import Key, KeyRing
from services.kernel.masking.cleaner import Cleaner
from services.kernel.message import MAX_RECORD_BYTES, Message, partition_of
from services.kernel.outcome import BadRecord, CandorError, Outage
from services.kernel.permission import Stamp
from services.kernel.policy import Policy
from services.kernel.policy.model import catalog_name
from services.kernel.policy.watching import InForce
from services.kernel.produce import BatchProducer
from services.kernel.remembered import LONGEST

TOPIC = "events.collected"
STAGE = "ingest"
MAX_WRITTEN = 4_000_000
"""Bytes that one request may become: a batch's context stands in each of its events."""

MAX_VALUE = MAX_RECORD_BYTES - 8_192
"""Bytes of an event's record: key, headers and what the gate adds to them take less than the rest."""

_HASHES = 20_000
_HEADERS = 150
"""Bytes of key and headers, about."""
_GPC = Stamp(gpc=True)


class UnknownKey(CandorError):
    """No live write key came with the request."""


class Arrived(NamedTuple):
    """A request as it came in.

    ``type``: of its only call, None for a batch. ``token``: the user name of Basic authorization.
    ``started``: µs at its first byte. ``test``: whether it says that all its events are tests.
    """

    body: bytes
    type: str | None
    token: str | None
    started: int
    gpc: bool
    test: bool
    address: str | None
    user_agent: str | None


class Flow:
    """Takes requests. ``accept`` returns once every event is in Kafka, acknowledged by all replicas."""

    def __init__(
        self,
        producer: BatchProducer,
        keyring: KeyRing,
        hasher: Hasher,
        cleaner: Cleaner,
        plans: Plans,
        policies: InForce,
        clock: Clock,
    ) -> None:
        self._producer = producer
        self._dead_letters = DeadLetters(producer, clock, STAGE)
        self._keyring = keyring
        self._cleaner = cleaner
        self._plans = plans
        self._policies = policies
        self._rates = Rates(clock)
        self._hash = _remembering(hasher)
        self._clock = clock
        self._ok = metrics.RECORDS.labels(STAGE, "ok")
        self._dead = metrics.RECORDS.labels(STAGE, "dead")
        self._sizes = metrics.BATCH_RECORDS.labels(STAGE)
        self._age = metrics.EVENT_AGE.labels(STAGE)

    async def accept(self, arrived: Arrived) -> int:
        """Make the request's events durable; its bad ones become dead letters, as durable. Returns how many
        records it wrote.

        Raises UnknownKey, TooMany, BadRecord for a request that can't be read ("too_large" where it breaks a
        limit), and Outage when it can't be made durable now.
        """
        request = calls.read_request(arrived.body, arrived.type)
        key = self._key(arrived.token, request.write_key)
        self._rates.take(key, len(request.calls), len(arrived.body))
        messages, dead, reports = self._decide(arrived, request, key)
        placed = _placed(messages, await self._producer.partitions(TOPIC))
        writing = self._producer.forward(TOPIC, placed)
        try:
            if dead or reports:
                await asyncio.gather(writing, self._dead_letters.send_messages([*dead, *reports]))
            else:
                await writing
        except BadRecord as error:  # what was decided on fits: the broker is set to take less
            raise Outage(f"Kafka: {error.detail}") from error
        self._ok.inc(len(messages))
        if dead:
            self._dead.inc(len(dead))
        self._sizes.observe(len(request.calls))
        self._age.observe((self._clock.now() - arrived.started) / SECOND)
        return len(messages) + len(dead)

    def _key(self, *tokens: str | None) -> Key:
        for token in tokens:
            key = self._keyring.write_key(token) if token else None
            if key is not None:
                return key
        raise UnknownKey("unknown write key")

    def _decide(
        self, arrived: Arrived, request: calls.Request, key: Key
    ) -> tuple[list[Message], list[Letter], list[Letter]]:
        """The events to write, the letters of bad calls, and those that report on events which are written.
        Only with public keys are address and user agent those of a person."""
        source = key.source or ""
        policy = self._policies.current
        public = key.kind == "write"
        sender = Sender(
            source,
            arrived.address if public else None,
            arrived.user_agent if public else None,
            arrived.test,
            policy.place_of(source, None),
        )
        cleaner = self._cleaner
        body, looked_at = _looked_at(arrived.body, request)
        harmless = cleaner.harmless(body)
        collector = Collector(
            request, sender, arrived.started, secrets.token_hex(16), self._hash, cleaner, harmless=harmless
        )
        common = (
            (headers.SOURCE, source.encode()),
            (headers.STARTED, b"%d" % arrived.started),
        )
        messages: list[Message] = []
        dead: list[Letter] = []
        reports: list[Letter] = []
        masked = collector.masked
        size = 0
        looks = repeat((True, False)) if harmless else cleaner.each(looked_at)
        for index, (raw, (is_harmless, suspicious)) in enumerate(zip(request.calls, looks, strict=False)):
            try:
                collected = collector.collect(raw, index, suspicious=suspicious, harmless=is_harmless)
                report = self._planned(collected.event)
                message = event_message(collected, common, policy, arrived.gpc)
                length = len(message[1] or b"")
                if length > MAX_VALUE:
                    raise BadRecord("too_large", f"with what its batch says more than {MAX_VALUE} bytes")
            except BadRecord as error:
                payload, found = kept(raw, cleaner, suspicious=suspicious)
                masked += found
                letter = self._letter(error, source, collector.completed(payload))
                named = [*common, *_letter_headers(arrived.gpc, bool(found) and id_masked(raw, payload))]
                dead.append(Letter(collector.routing_hash(raw), letter, named))
                size += len(letter.payload)
            else:
                masked += collected.masked
                messages.append(message)
                if report is not None:
                    reports.append(Letter(message.key, self._letter(report, source, b""), common))
                size += length
            if size > MAX_WRITTEN:
                raise BadRecord("too_large", "the context of the batch makes its events too large")
        for kind in masked:
            metrics.MASKED.labels(kind).inc()
        return messages, dead, reports

    def _planned(self, event: Event) -> BadRecord | None:
        """What to report of an event that departs from the tracking plan. Raises BadRecord where the plan
        blocks it."""
        violation = self._plans.judge(event)
        if violation is None:
            return None
        metrics.PLAN_VIOLATIONS.labels(event.source, violation.mode).inc()
        if violation.mode == "block":
            raise BadRecord("plan_violation", violation.detail)
        if not self._plans.is_new(event, violation):
            return None
        name = planned_name(event.type, event.name)
        return BadRecord(PLAN_REPORTED, f"{name[:MAX_PLACE]}: {violation.detail}")

    def _letter(self, error: BadRecord, source: str, payload: bytes) -> DeadLetter:
        return DeadLetter(
            reason=error.reason,
            step=STAGE,
            detail=error.detail,
            topic=None,
            partition=None,
            offset=None,
            source=source,
            dead_at=self._clock.now(),
            payload=payload,
        )


def _looked_at(body: bytes, request: calls.Request) -> tuple[bytes, Sequence[bytes]]:
    """What the look is to see of a request, and of each of its calls."""
    if body.isascii() and not escaped(body):
        return body, request.calls
    looked_at = [without_letters(call) for call in request.calls]
    shared = (without_letters(bytes(raw)) for raw in (request.context, request.integrations))
    return b",".join((*looked_at, *shared)), looked_at


def event_message(
    collected: Collected, common: Sequence[tuple[str, bytes]], policy: Policy, gpc: bool
) -> Message:
    """The record of an event. ``common``: headers that a request's events share. ``gpc``: whether the request
    bore Sec-GPC: 1."""
    identifiers = collected.identifiers
    named = [(headers.IDENTIFIERS, join(identifiers)), *common]
    stamp = collected.stamp
    if gpc:
        stamp = _GPC if stamp is None else replace(stamp, gpc=True)
    if stamp is not None:
        named.append((headers.STAMP, stamp.to_header()))
    event = collected.event
    if event.place is not None:
        named.append((headers.PLACE, event.place.encode()))
    name = catalog_name(event.type, event.name)
    if name in policy.catalog.events:
        named.append((headers.EVENT, name.encode()))
    if collected.test:
        named.append((headers.TEST, b"1"))
    return Message(identifiers[0], codec.encode(event), named)


def _letter_headers(gpc: bool, is_id_masked: bool) -> list[tuple[str, bytes]]:
    """What a replay must know of a bad call beyond its payload."""
    named = [(headers.STAMP, _GPC.to_header())] if gpc else []
    return [*named, (headers.ID_MASKED, b"1")] if is_id_masked else named


def _remembering(hasher: Hasher) -> Callable[[str, str], bytes]:
    """The hash of (kind, value), remembered where the value is short: senders choose it."""
    known = lru_cache(_HASHES)(hasher)
    return lambda kind, value: known(kind, value) if len(value) <= LONGEST else hasher(kind, value)


def _placed(messages: Sequence[Message], partitions: int) -> dict[int, tuple[list[Message], int]]:
    """The events and about how many bytes they are, by partition: 0.5 µs an event, where the producer, which
    also measures headers and tells offsets, takes 3."""
    placed: dict[int, list[Message]] = {}
    for message in messages:
        placed.setdefault(partition_of(message[0] or b"", partitions), []).append(message)
    return {
        place: (part, sum([len(message[1] or b"") for message in part]) + _HEADERS * len(part))
        for place, part in placed.items()
    }
