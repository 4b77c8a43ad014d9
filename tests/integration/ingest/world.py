"""A running ingest service for tests: sending to it, and what came into Kafka through it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import codec
from services.kernel.events import DeadLetter, Event
from services.kernel.handler import Record
from services.kernel.settings import Settings
from services.kernel.topics import registry
from tests.support.services import Service

TOPICS = ("events.collected", "deadletters", "audit.acts")


@dataclass(frozen=True, slots=True)
class Keys:
    """Tokens of a test's own, the first two for its sources web-SOURCE and shop-SOURCE."""

    source: str
    web: str
    server: str
    admin: str


@dataclass
class World:
    """A running ingest service, keys for it, and what a test brought into Kafka through it."""

    service: Service
    client: httpx.AsyncClient
    consumer: AIOKafkaConsumer
    settings: Settings
    keys: Keys
    since: dict[str, dict[TopicPartition, int]] = field(default_factory=dict)

    @property
    def source(self) -> str:
        return self.keys.source

    @property
    def web(self) -> str:
        return self.keys.web

    @property
    def server(self) -> str:
        return self.keys.server

    async def post(self, path: str, body: Any, *, key: str | None = None, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if key is not None:
            options["auth"] = (key, "")
        return await self.client.post(path, content=content, **options)

    async def batch(self, *calls: Any, key: str | None = None, **shared: Any) -> httpx.Response:
        return await self.post("/v1/batch", {"batch": calls, **shared}, key=key or self.server)

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        name = self.settings.topic(topic)
        partitions = [TopicPartition(name, number) for number in range(registry()[topic].partitions)]
        self.consumer.assign(partitions)
        ends: dict[TopicPartition, int] = await self.consumer.end_offsets(partitions)
        return ends

    async def records(self, topic: str) -> list[Record]:
        """All that came into the topic since the test began."""
        ends = await self.ends(topic)
        for partition, offset in self.since[topic].items():
            self.consumer.seek(partition, offset)
        found: list[Record] = []
        while len(found) < sum(ends.values()) - sum(self.since[topic].values()):
            for records in (await self.consumer.getmany(timeout_ms=100)).values():
                found += records
        return found

    async def events(self) -> list[Event]:
        return [codec.decode(Event, record.value) for record in await self.records("events.collected")]

    async def letters(self) -> list[DeadLetter]:
        return [codec.decode(DeadLetter, record.value) for record in await self.records("deadletters")]

    async def metric(self, name: str) -> float:
        """The value of the sample whose line begins so."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)


def track(**members: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Viewed", "userId": "u1"} | members
