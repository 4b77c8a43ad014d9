"""A segment service without its HTTP side: golden records go in, and what Postgres holds can be looked at."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from services.kernel import codec, headers
from services.kernel.clock import HOUR
from services.kernel.deadletter import DeadLetters
from services.kernel.events import Activity, GoldenRecord, Transition
from services.kernel.handler import Batch, Record
from services.kernel.message import partition_of
from services.kernel.postgres import Pool
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.segment.domain.definition import read_definition
from services.segment.flow.judging import STAGE, TOPIC, Judging
from services.segment.store.catalog import CatalogStore
from services.segment.store.reading import Reader
from services.segment.store.writing import Writer
from tests.support.clock import ManualClock

PURPOSES = ("analytics", "marketing")
PARTITIONS = 8
BERLIN = {"trait": "city", "op": "eq", "value": "Berlin"}
BOUGHT_LATELY = {"event": "Order", "count": {"op": "gte", "value": 1}, "within": {"hours": 24}}


def profile(name: str) -> str:
    """A profile id for a test's person."""
    return f"{zlib.crc32(name.encode()):032x}"


def place(profile_id: str) -> int:
    return partition_of(profile_id.encode(), PARTITIONS)


def orders(*times: int) -> dict[str, Activity]:
    """What profile folds of orders at those times."""
    hours, days = sorted({time // HOUR for time in times}), sorted({time // HOUR // 24 for time in times})
    return {
        "Order": Activity(
            len(times),
            min(times),
            max(times),
            hours,
            [sum(time // HOUR == hour for time in times) for hour in hours],
            days,
            [sum(time // HOUR // 24 == day for time in times) for day in days],
            {},
        )
    }


def golden(
    name: str,
    version: int = 1,
    *,
    purposes: Sequence[str] = PURPOSES,
    activity: Mapping[str, Activity] | None = None,
    user_ids: Sequence[str] | None = None,
    anonymous_ids: Sequence[str] = (),
    seen_at: int = 0,
    **traits: Any,
) -> GoldenRecord:
    """A person's golden record."""
    return GoldenRecord(
        profile_id=profile(name),
        version=version,
        user_ids=[name] if user_ids is None else list(user_ids),
        anonymous_ids=list(anonymous_ids),
        purposes=sorted(purposes),
        traits=msgspec.json.encode(traits, order="sorted"),
        activity=dict(activity or {}),
        first_seen_at=seen_at,
        last_seen_at=seen_at,
        received_at=seen_at,
    )


class World:
    """One process of the service. ``published`` is where its relay would have published to."""

    def __init__(self, settings: Settings, pool: Pool, clock: ManualClock) -> None:
        self.settings = settings
        self.pool = pool
        self.clock = clock
        self.catalogs = CatalogStore(pool)
        self.reader = Reader(pool)
        self.writer = Writer(pool, self.catalogs)
        self.letters = DeadLetters(BatchProducer(settings, "test"), clock, STAGE)
        self.judging = Judging(self.writer, self.letters, settings.hasher(), clock)
        self.offsets: dict[int, int] = {}

    async def take_all(self) -> Mapping[TopicPartition, int]:
        return await self.judging.assigned({TopicPartition(TOPIC, p) for p in range(PARTITIONS)})

    async def define(self, key: str, rule: dict[str, Any], purpose: str = "marketing") -> None:
        data = {"name": key, "purpose": purpose, "rule": rule}
        await self.catalogs.put(key, read_definition(key, data, PURPOSES), self.clock.now())

    def batch(self, *records: GoldenRecord | tuple[str, int, str | None]) -> Batch:
        """As read from Kafka; (name, version, merged into or None) stands for a tombstone."""
        batch: Batch = {}
        for record in records:
            if isinstance(record, GoldenRecord):
                key, value, more = record.profile_id, codec.encode(record), []
            else:
                name, version, survivor = record
                key, value, more = profile(name), None, [(headers.VERSION, b"%d" % version)]
                if survivor:
                    more.append((headers.MERGED_INTO, profile(survivor).encode()))
            partition = place(key)
            offset = self.offsets[partition] = self.offsets.get(partition, -1) + 1
            batch.setdefault(TopicPartition(TOPIC, partition), []).append(
                kafka_record(partition, offset, key.encode(), value, more, self.clock.now() // 1000)
            )
        return batch

    async def feed(self, *records: GoldenRecord | tuple[str, int, str | None]) -> int:
        return await self.judging.handle(self.batch(*records))

    async def transitions(self) -> list[Transition]:
        """In the order of evaluation, then position."""
        rows = await self.pool.fetch(
            "SELECT value FROM transitions ORDER BY evaluated_at, segment_key, profile_id, sequence"
        )
        return [codec.decode(Transition, row["value"]) for row in rows]

    async def story(self, name: str, key: str) -> list[tuple[int, bool, str]]:
        """(sequence, member, reason) of one person's transitions in one segment."""
        return [
            (item.sequence, item.member, item.reason)
            for item in sorted(await self.transitions(), key=lambda item: item.sequence)
            if item.profile_id == profile(name) and item.segment_key == key
        ]

    async def members(self, key: str) -> set[str]:
        rows = await self.pool.fetch(
            "SELECT encode(profile_id, 'hex') AS id FROM memberships WHERE member AND segment_key = $1", key
        )
        return {row["id"] for row in rows}

    async def publish(self, *partitions: int) -> None:
        """Mark everything of those partitions (none named: of all) as published, as the relay does."""
        await self.pool.execute(
            "UPDATE published u SET position = p.position FROM partitions p"
            " WHERE p.partition = u.partition AND (u.partition = ANY($1::int[]) OR $1 = '{}')",
            list(partitions),
        )


def kafka_record(
    partition: int, offset: int, key: bytes, value: bytes | None, more: Any = (), timestamp: int = 0
) -> Record:
    return ConsumerRecord(
        TOPIC, partition, offset, timestamp, 0, key, value, None, len(key), len(value or b""), tuple(more)
    )
