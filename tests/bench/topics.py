"""Topics of the bench: making them, filling them, and watching how far others have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError

from tests.bench.processes import BenchError

BATCH_BYTES = 512 * 1024
PAUSE = 0.02
QUIET_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as it stands in a topic."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@asynccontextmanager
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create(
    kafka: str, partitions: Mapping[str, int], configuration: Mapping[str, str] | None = None
) -> None:
    """Make those topics, each with so many partitions; every one of them has a leader when this returns."""
    async with admin(kafka) as client:
        new = [
            NewTopic(name, count, 1, topic_configs=dict(configuration or {}))
            for name, count in partitions.items()
        ]
        answer = await client.create_topics(new)
        for name, code, message in answer.topic_errors:
            if code:
                raise BenchError(f"topic {name}: {message}")
        while any(
            topic["error_code"] or any(part["error_code"] for part in topic["partitions"])
            for topic in await client.describe_topics(list(partitions))
        ):
            await asyncio.sleep(PAUSE)


async def delete(kafka: str, prefix: str) -> None:
    """Remove every topic whose name begins so: the disk of the broker is not ours alone."""
    async with admin(kafka) as client:
        names = [name for name in await client.list_topics() if name.startswith(prefix)]
        if names:
            await client.delete_topics(names)


async def fill(kafka: str, topic: str, records: Iterable[tuple[int, Raw]]) -> int:
    """Write (partition, record) pairs with send_batch; their number once all are acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True,
                                max_batch_size=BATCH_BYTES, max_request_size=2 * BATCH_BYTES)  # fmt: skip
    await producer.start()
    count = 0
    try:
        builders: dict[int, object] = {}
        under_way: set[asyncio.Future[object]] = set()

        async def flush(partition: int) -> None:
            future = await producer.send_batch(builders.pop(partition), topic, partition=partition)
            under_way.add(future)
            future.add_done_callback(under_way.discard)

        for partition, record in records:
            count += 1
            while True:
                if partition not in builders:
                    builders[partition] = producer.create_batch()
                if builders[partition].append(  # type: ignore[attr-defined]
                    key=record.key, value=record.value, timestamp=None, headers=list(record.headers)
                ):
                    break
                await flush(partition)
        for partition in list(builders):
            await flush(partition)
        while under_way:
            await asyncio.gather(*under_way)
    finally:
        await producer.stop()
    return count


class Watch:
    """Looks at end offsets and a group's committed offsets of one topic, on clients of its own."""

    def __init__(self, kafka: str, topic: str, group: str | None = None) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        self._topic, self._group = topic, group
        self._partitions: list[TopicPartition] = []

    async def __aenter__(self) -> Watch:
        await self._consumer.start()
        await self._admin.start()
        (topic,) = await self._admin.describe_topics([self._topic])
        self._partitions = [TopicPartition(self._topic, each["partition"]) for each in topic["partitions"]]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._admin.close()
        await self._consumer.stop()

    async def written(self) -> int:
        """Sum of the end offsets."""
        return sum((await self._consumer.end_offsets(self._partitions)).values())

    async def committed(self) -> int:
        """Sum of what the group has committed; 0 while the broker has yet to make the topic of the groups."""
        try:
            found = await self._admin.list_consumer_group_offsets(self._group, partitions=self._partitions)
        except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
            return 0
        return sum(max(0, place.offset) for place in found.values())


@dataclass(frozen=True, slots=True)
class Progress:
    """How fast a counter rose from its first step to its end."""

    records: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.records / self.seconds


async def follow(
    count: Callable[[], Awaitable[int]],
    until: int,
    seconds: float,
    check: Callable[[], object],
    *,
    skip: int = 0,
) -> Progress:
    """Poll `count()` until it reaches `until`: how fast it rose from its first value above `skip`.

    So the start-up is left out. Raises BenchError after `seconds`; `check()`, called now and then, may raise.
    """
    deadline = time.monotonic() + seconds
    begun: tuple[float, int] | None = None
    checked = 0.0
    while True:
        now, reached = time.monotonic(), await count()
        if begun is None and reached > skip:
            begun = now, reached
        if begun is not None and reached >= until:
            return Progress(reached - begun[1], max(now - begun[0], 1e-9))
        if now - checked > 1:
            check()
            checked = now
        if now > deadline:
            raise BenchError(f"{reached:,} of {until:,} records after {seconds:.0f} s")
        await asyncio.sleep(PAUSE)


async def settled(count: Callable[[], Awaitable[int]]) -> tuple[int, float]:
    """The value of `count()` once it stays as it is, and the monotonic time of its last change."""
    value, changed = await count(), time.monotonic()
    while time.monotonic() - changed < QUIET_SECONDS:
        await asyncio.sleep(PAUSE)
        if (now := await count()) != value:
            value, changed = now, time.monotonic()
    return value, changed
