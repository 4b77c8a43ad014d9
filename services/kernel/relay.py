"""The relay: rows of Postgres to a topic, one writer per output partition.

Without it two workers published 78 of 40,000 records in the wrong order, and 3 of 3,000 keys stayed stale.
A relay holds a Postgres advisory lock and a transactional.id per shard: a paused one that wakes is refused by
the broker. A transaction costs 16 ms a batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from services.kernel import metrics
from services.kernel.closing import close
from services.kernel.health import Health
from services.kernel.message import MAX_BATCH_BYTES, Message, add, partition_of
from services.kernel.outcome import Outage
from services.kernel.postgres import OUTAGES, RETRY, Connection, Pool, own_connection
from services.kernel.settings import Settings

LEASE_SECONDS = 20
"""After so much silence the server ends the session that holds the lock, and a stand-by takes over."""

KAFKA_SECONDS = 15
"""Within so much a producer is connected, or a round of rows written."""

_BROKEN: tuple[type[Exception], ...] = (AssertionError, IllegalOperation)
"""What aiokafka raises when a transaction is to go on whose producer has failed meanwhile."""

log = logging.getLogger(__name__)

Rows = TypeVar("Rows")


class Source(Protocol[Rows]):
    """Where a relay's records come from."""

    async def read(self, connection: Connection) -> Rows | None:
        """The rows to publish now, None when there are none. Runs in a transaction that is committed before
        anything is published: what must never be used twice (a version) is reserved here."""
        ...

    async def messages(self, rows: Rows) -> Sequence[tuple[str, int | None, Message]]:
        """(topic, partition, message) of each; partition None chooses by key. Order within a partition
        is kept. May be empty."""
        ...

    async def published(self, connection: Connection, rows: Rows) -> None:
        """Mark the rows as published; runs in a transaction. They may be published again when the process
        dies before it commits: a repeat must carry the same identity."""
        ...


class Relay:
    """Publishes a source's rows in order, at least once, by exactly one process at a time.

    :meth:`wake` says that there may be new rows; without it they are found within ``sweep`` seconds.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        pool: Pool,
        source: Source[Any],
        health: Health,
        *,
        shard: int = 0,
        sweep: float = 1.0,
        channel: str | None = None,
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self._settings = settings
        self._name = f"{name}-{shard}"
        self._pool = pool
        self._source = source
        self._health = health
        self._part = f"relay {self._name}"
        self._sweep = sweep
        self._channel = channel
        self._lease_seconds = lease_seconds
        self._woken = asyncio.Event()
        self._counts: dict[str, int] = {}
        health.red(self._part, "starting")

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        delay = 0.2
        outage_since: float | None = None
        while True:
            try:
                async with self._lock() as connection, self._producer() as producer:
                    self._health.green(self._part)
                    delay, outage_since = 0.2, None
                    await self._publish(connection, producer)
            except ProducerFenced:
                log.warning("relay was replaced while it was paused", extra={"relay": self._name})
            except RETRY:
                continue
            except (KafkaError, Outage, *_BROKEN, *OUTAGES) as error:
                if isinstance(error, Outage):
                    dependency: str = error.dependency
                else:
                    dependency = "kafka" if isinstance(error, (KafkaError, *_BROKEN)) else "postgres"
                now = time.monotonic()
                if outage_since is not None:
                    metrics.OUTAGE.labels(dependency).inc(now - outage_since)
                outage_since = now
                reason = str(error) if isinstance(error, Outage) else type(error).__name__
                self._health.red(self._part, f"{dependency}: {reason}")
                log.warning("outage", extra={"relay": self._name, "why": reason})
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5)

    @contextlib.asynccontextmanager
    async def _lock(self) -> Any:
        """A connection that holds the shard's advisory lock; waits for it, ready, as a stand-by."""
        key = zlib.crc32(f"{self._name}".encode())
        async with own_connection(self._pool) as connection:  # with the session the lock goes
            await connection.execute(f"SET idle_session_timeout = '{self._lease_seconds}s'")
            while not await connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtext(current_schema()), $1::bigint::bit(32)::int)", key
            ):
                self._health.green(self._part)
                await asyncio.sleep(1)
            if self._channel is not None:
                await connection.add_listener(self._channel, self._notified)
            yield connection

    def _notified(self, *_: object) -> None:
        self._woken.set()

    @contextlib.asynccontextmanager
    async def _producer(self) -> Any:
        """A producer that fences the one before it."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka,
            transactional_id=f"{self._settings.topic_prefix}candor-{self._name}",
            transaction_timeout_ms=10_000,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=4 * MAX_BATCH_BYTES,
            request_timeout_ms=10_000,
            retry_backoff_ms=20,
        )
        try:
            async with _answered():
                await producer.start()
            yield producer
        finally:
            await close(producer)

    async def _publish(self, connection: Any, producer: Any) -> None:
        while True:
            self._woken.clear()
            async with connection.transaction():
                rows = await self._source.read(connection)
            if rows is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sweep):
                        await self._woken.wait()
                continue
            messages = await self._source.messages(rows)
            if messages:
                async with _answered():
                    await self._send(producer, messages)
            async with connection.transaction():
                await self._source.published(connection, rows)

    async def _send(self, producer: Any, messages: Sequence[tuple[str, int | None, Message]]) -> None:
        """All messages in one Kafka transaction."""
        await producer.begin_transaction()
        lanes: dict[tuple[str, int], list[Message]] = {}
        for topic, partition, message in messages:
            if partition is None:
                count = self._counts.get(topic)
                if count is None:
                    found = await producer.partitions_for(self._settings.topic(topic))
                    count = self._counts[topic] = len(found)
                partition = partition_of(message.key or b"", count)
            lanes.setdefault((topic, partition), []).append(message)
        futures = []
        for (topic, partition), own in lanes.items():
            batch = producer.create_batch()
            for message in own:
                if add(batch, message):
                    continue
                futures.append(
                    await producer.send_batch(batch, self._settings.topic(topic), partition=partition)
                )
                batch = producer.create_batch()
                add(batch, message)
            futures.append(await producer.send_batch(batch, self._settings.topic(topic), partition=partition))
        # What fails here is aborted by the broker when the next producer of this name begins.
        await asyncio.gather(*futures)
        await producer.commit_transaction()


@contextlib.asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    """Raises Outage where Kafka has not done by then what the block asks of it."""
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            yield
    except TimeoutError as error:
        raise Outage(f"Kafka took longer than {KAFKA_SECONDS} s") from error


async def notify(connection: Connection, channel: str) -> None:
    """Wake the relays that listen on that channel, in every process, once this transaction commits."""
    await connection.execute("SELECT pg_notify($1, '')", channel)
