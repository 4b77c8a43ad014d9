"""The relay against a real broker and Postgres: every row, in order, from one writer at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import relay
from services.kernel.health import Health
from services.kernel.message import Message
from services.kernel.postgres import Connection, Pool, connect
from services.kernel.relay import Relay
from services.kernel.settings import Settings

TOPIC = "segments.transitions"
LOCKS = """
SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE locktype = 'advisory' AND datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    pool = await connect(settings, "public")
    await pool.execute(
        "CREATE TABLE public.outbox (id bigserial PRIMARY KEY, published boolean DEFAULT false)"
    )
    yield pool
    await asyncio.wait_for(pool.close(), 10)


class Outbox:
    """Rows of the table outbox; ``hold`` stops the relay between reading and publishing."""

    def __init__(self, batch: int = 50) -> None:
        self.batch = batch
        self.hold = asyncio.Event()
        self.hold.set()
        self.holding = asyncio.Event()
        self.forget = 0

    async def read(self, connection: Connection) -> list[int] | None:
        rows = await connection.fetch(
            "SELECT id FROM outbox WHERE NOT published ORDER BY id LIMIT $1", self.batch
        )
        return [row["id"] for row in rows] or None

    async def messages(self, rows: list[int]) -> Sequence[tuple[str, int | None, Message]]:
        if not self.hold.is_set():
            self.holding.set()
            await self.hold.wait()
        return [(TOPIC, 2, Message(b"%d" % row, b"%d" % row, [])) for row in rows]

    async def published(self, connection: Connection, rows: list[int]) -> None:
        if self.forget:
            self.forget -= 1
            raise asyncpg.ConnectionDoesNotExistError("the process died here")
        await connection.execute("UPDATE outbox SET published = true WHERE id = ANY($1)", rows)


async def fill(pool: Pool, count: int) -> None:
    await pool.execute("INSERT INTO outbox SELECT FROM generate_series(1, $1)", count)


async def topic(settings: Settings) -> list[int]:
    """What readers of committed records see, in order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        partition = TopicPartition(settings.topic(TOPIC), 2)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[int] = []
        while await consumer.position(partition) < end:
            batch = await consumer.getmany(timeout_ms=300)
            found += [int(record.value) for records in batch.values() for record in records]
        return found
    finally:
        await consumer.stop()


async def drained(pool: Pool) -> None:
    async with asyncio.timeout(40):
        while await pool.fetchval("SELECT count(*) FROM outbox WHERE NOT published"):
            await asyncio.sleep(0.02)


async def stopped(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_every_row_is_published_in_order(settings: Settings, pool: Pool) -> None:
    await fill(pool, 500)
    health = Health("test")
    relay = Relay(settings, "test", pool, Outbox(), health)
    task = asyncio.create_task(relay.run())
    await drained(pool)
    assert health.ready
    await stopped(task)
    assert await topic(settings) == list(range(1, 501))


async def test_a_wake_is_not_lost_and_needs_no_sweep(settings: Settings, pool: Pool) -> None:
    relay = Relay(settings, "test", pool, Outbox(), Health("test"), sweep=3600)
    task = asyncio.create_task(relay.run())
    for _ in range(20):
        await fill(pool, 1)
        relay.wake()
        await drained(pool)
    await stopped(task)
    assert await topic(settings) == list(range(1, 21))


async def test_a_notification_wakes_the_relay_of_another_process(settings: Settings, pool: Pool) -> None:
    relay = Relay(settings, "test", pool, Outbox(), Health("test"), sweep=3600, channel="rows")
    task = asyncio.create_task(relay.run())
    await fill(pool, 1)
    async with asyncio.timeout(20):
        while await pool.fetchval("SELECT count(*) FROM outbox WHERE NOT published"):
            await pool.execute("SELECT pg_notify('rows', '')")
            await asyncio.sleep(0.05)
    await stopped(task)


async def test_a_stand_by_takes_over_and_the_paused_relay_is_refused_when_it_wakes(
    settings: Settings, pool: Pool
) -> None:
    """The paused one has read rows that the other publishes meanwhile, and newer ones after them."""
    await fill(pool, 100)
    paused, fresh = Outbox(batch=100), Outbox(batch=100)
    paused.hold.clear()
    old = asyncio.create_task(Relay(settings, "test", pool, paused, Health("old")).run())
    await asyncio.wait_for(paused.holding.wait(), 20)
    # What the server does when the session has been silent for too long.
    await pool.execute(
        f"SELECT pg_terminate_backend(pid) FROM ({LOCKS}) AS held"  # noqa: S608
    )
    new = asyncio.create_task(Relay(settings, "test", pool, fresh, Health("new")).run())
    await drained(pool)
    await fill(pool, 100)
    await drained(pool)
    before = await topic(settings)
    assert before == list(range(1, 201))
    paused.hold.set()
    await fill(pool, 100)
    await drained(pool)
    await stopped(old, new)
    assert await topic(settings) == list(range(1, 301))


async def test_a_crash_before_the_mark_repeats_rows_and_loses_none(settings: Settings, pool: Pool) -> None:
    await fill(pool, 30)
    outbox = Outbox(batch=10)
    outbox.forget = 1
    task = asyncio.create_task(Relay(settings, "test", pool, outbox, Health("test")).run())
    await drained(pool)
    await stopped(task)
    found = await topic(settings)
    assert found == [*range(1, 11), *range(1, 31)]


async def test_the_silence_of_a_relay_ends_its_session(settings: Settings, pool: Pool) -> None:
    """The lock of a process that stands still goes to another one by itself: the server ends the session."""
    await fill(pool, 1)
    outbox = Outbox()
    outbox.hold.clear()
    task = asyncio.create_task(Relay(settings, "test", pool, outbox, Health("test"), lease_seconds=2).run())
    await asyncio.wait_for(outbox.holding.wait(), 20)
    count = f"SELECT count(*) FROM ({LOCKS}) AS held"  # noqa: S608
    assert await pool.fetchval(count) == 1
    async with asyncio.timeout(40):
        while await pool.fetchval(count):
            await asyncio.sleep(0.2)
    outbox.hold.set()
    await drained(pool)
    await stopped(task)


async def test_a_kafka_that_does_not_answer_is_not_taken_for_postgres(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "KAFKA_SECONDS", 0.5)
    health = Health("test")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        elsewhere = replace(settings, kafka=f"127.0.0.1:{silent.getsockname()[1]}")
        task = asyncio.create_task(Relay(elsewhere, "test", pool, Outbox(), health).run())
        async with asyncio.timeout(40):
            while health.reasons() in ({}, {"relay test-0": "starting"}):
                await asyncio.sleep(0.01)
        await stopped(task)
    assert health.reasons()["relay test-0"].startswith("kafka: ")
