"""profiles.state to memberships and transitions: the path of a golden record.

decode → load what is known of all profiles → domain judges → one transaction under the partitions' epochs.
Postgres is the commit point: the Kafka offset is stored there with what follows from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka import TopicPartition

from services.kernel import codec, headers, metrics
from services.kernel.clock import Clock
from services.kernel.deadletter import DeadLetters
from services.kernel.events import Cause, GoldenRecord
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.identifier import HASH_SIZE, Hasher
from services.kernel.outcome import BadRecord, Dead, Outage
from services.segment.domain.judging import Known, Occasion, Person, identifiers_of, judge
from services.segment.store.writing import Change, Copy, Stored, Writer, Writing

TOPIC = "profiles.state"
STAGE = "segment"
REVISITED = 300
"""Copies judged again in a transaction, during which the partition's new records wait."""

log = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """A record of profiles.state; ``person`` None for a tombstone."""

    profile_id: bytes
    partition: int
    version: int
    value: bytes | None
    person: Person | None
    occasion: Occasion


class Judging(BaseHandler):
    """Judges new golden records as they come, and stored ones whose time or definition has come."""

    def __init__(self, writer: Writer, letters: DeadLetters, hasher: Hasher, clock: Clock) -> None:
        self._writer = writer
        self._letters = letters
        self._hasher = hasher
        self._clock = clock

    async def assigned(self, partitions: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Postgres's offsets: records before them have done their work, whatever Kafka's commits say."""
        offsets = await self._writer.take(tp.partition for tp in partitions)
        return {tp: offsets[tp.partition] for tp in partitions}

    async def handle(self, batch: Batch) -> int:
        arrivals: dict[bytes, Arrival] = {}
        dead: list[tuple[Record, Dead]] = []
        offsets = {tp.partition: records[-1].offset + 1 for tp, records in batch.items()}
        for record in (record for records in batch.values() for record in records):
            try:
                arrival = _read(record)
            except BadRecord as error:
                dead.append((record, Dead(error.reason, error.detail)))
                continue
            newest = arrivals.get(arrival.profile_id)
            if newest is None or arrival.version > newest.version:
                arrivals[arrival.profile_id] = arrival
        await self._letters.send(dead)
        async with self._writer.begin(offsets) as writing:
            changes = await self._arrive(writing, list(arrivals.values()))
            await writing.advance(offsets)
        count = sum(map(len, batch.values()))
        metrics.RECORDS.labels(STAGE, "dead").inc(len(dead))
        metrics.RECORDS.labels(STAGE, "ok").inc(count - len(dead))
        self._observe(changes, arrivals.values())
        return len(dead)

    async def refuse(self, record: Record, why: Dead) -> None:
        await self._letters.send([(record, why)])
        metrics.RECORDS.labels(STAGE, "dead").inc()

    async def _arrive(self, writing: Writing, arrivals: Sequence[Arrival]) -> list[Change]:
        """Store and judge what is newer than what is known."""
        ids = [arrival.profile_id for arrival in arrivals]
        known, former = await writing.known(ids, [arrival.person is None for arrival in arrivals])
        now = self._clock.now()
        copies: list[Copy] = []
        changes: list[Change] = []
        for arrival in arrivals:
            before = known.setdefault(arrival.profile_id, Known())
            if arrival.version <= before.version:
                continue
            copy, transitions = self._judge(writing, arrival, before, former, now)
            copies.append(copy)
            changes += transitions
        await writing.save(copies, known)
        await writing.append(changes)
        await writing.forget_names(copy.profile_id for copy in copies if copy.is_erased)
        return changes

    def _judge(
        self, writing: Writing, arrival: Arrival, before: Known, former: Mapping[bytes, bytes], now: int
    ) -> tuple[Copy, list[Change]]:
        profile_id, person, merged_into = arrival.profile_id, arrival.person, arrival.occasion.merged_into
        # The exits still name whom the tools know; of an erased one until they are published.
        identity = former.get(profile_id)
        due, transitions = judge(
            writing.catalog,
            profile_id.hex(),
            person,
            before,
            arrival.occasion,
            now,
            codec.decode(GoldenRecord, identity) if identity else None,
        )
        hashes = identifiers_of(person.record, profile_id, self._hasher) if person else b""
        copy = Copy(profile_id, arrival.partition, arrival.version, arrival.value, merged_into, hashes, due)
        return copy, [Change(arrival.partition, profile_id, item, merged_into) for item in transitions]

    async def revisit(self) -> None:
        """Judge again what is due and what the catalog has overtaken, until nothing is left."""
        for partition in await self._writer.waiting(self._clock.now()):
            while partition in self._writer.epochs and await self._revisit(partition):
                pass

    async def _revisit(self, partition: int) -> bool:
        """One transaction's share of it; whether there may be more."""
        try:
            async with self._writer.begin([partition]) as writing:
                now = self._clock.now()
                stored = await writing.due(partition, now, REVISITED)
                stored = stored or await writing.behind_catalog(partition, REVISITED)
                changes = await self._judge_again(writing, partition, stored, now) if stored else []
        except Outage:
            return False  # the partition has gone to another process, which does this
        self._observe(changes, ())
        return bool(stored)

    async def _judge_again(
        self, writing: Writing, partition: int, stored: Sequence[Stored], now: int
    ) -> list[Change]:
        standings = await writing.standings([copy.profile_id for copy in stored])
        judged: list[tuple[bytes, int]] = []
        changes: list[Change] = []
        for copy in stored:
            person = _person(copy.value) if copy.value is not None else None
            known = Known(copy.version, copy.catalog, copy.due, standings=standings.get(copy.profile_id, {}))
            occasion = Occasion(min(copy.due, now))
            due, transitions = judge(writing.catalog, copy.profile_id.hex(), person, known, occasion, now)
            judged.append((copy.profile_id, due))
            changes += [Change(partition, copy.profile_id, item, None) for item in transitions]
        await writing.save_judged(judged)
        await writing.append(changes)
        await writing.advance({})
        return changes

    def _observe(self, changes: Sequence[Change], arrivals: Iterable[Arrival]) -> None:
        """Count what was committed."""
        for change in changes:
            direction = "entered" if change.transition.member else "left"
            labels = (change.transition.segment_key, direction, change.transition.reason)
            metrics.TRANSITIONS.labels(*labels).inc()
        now, age = self._clock.now(), metrics.EVENT_AGE.labels(STAGE)
        unreadable = 0
        for arrival in arrivals:
            if arrival.person is not None:
                age.observe((now - arrival.person.record.received_at) / 1_000_000)
                unreadable += not arrival.person.readable
        if unreadable:
            log.warning("traits can not be read, judged as none", extra={"records": unreadable})


def _person(value: bytes) -> Person:
    return Person.of(codec.decode(GoldenRecord, value))


def _read(record: Record) -> Arrival:
    """Raises BadRecord for what is no golden record or tombstone."""
    try:
        profile_id = bytes.fromhex((record.key or b"").decode("ascii"))
    except ValueError:
        profile_id = b""
    if len(profile_id) != HASH_SIZE:
        raise BadRecord("bad_key", "expected a profile id")
    cause = Cause(TOPIC, record.partition, record.offset)
    at = record.timestamp * 1000
    if record.value is not None:
        person = _person(record.value)
        if person.record.profile_id != profile_id.hex():
            raise BadRecord("bad_key", "expected the record's own profile id")
        version = person.record.version
        return Arrival(profile_id, record.partition, version, record.value, person, Occasion(at, cause))
    try:
        version = int(headers.value(record.headers, headers.VERSION) or b"")
        merged_into = bytes.fromhex((headers.value(record.headers, headers.MERGED_INTO) or b"").decode())
    except ValueError:
        raise BadRecord("bad_headers", "expected version and merged_into of a tombstone") from None
    return Arrival(
        profile_id, record.partition, version, None, None, Occasion(at, cause, merged_into or None)
    )
