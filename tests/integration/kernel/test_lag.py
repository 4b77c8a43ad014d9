"""What readiness and the lag say of a loop whose Kafka goes away, or whose batch does not end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import REGISTRY

from services.kernel import consume
from services.kernel.consume import BatchLoop
from services.kernel.handler import BaseHandler, Batch, Record
from services.kernel.health import Health
from services.kernel.message import Message
from services.kernel.outcome import Dead, Outage
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.topics import registry
from tests.support import stack
from tests.support.broker import Broker

TOPIC = "profiles.state"
PARTITIONS = registry()[TOPIC].partitions


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "WATCH_SECONDS", 0.2)


class Slow(BaseHandler):
    """Handles records once it is let go on; ``raises`` comes first."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.began = asyncio.Event()
        self.raises: Exception | None = None
        self.handled = 0

    async def handle(self, batch: Batch) -> int:
        self.began.set()
        if self.raises is not None:
            raise self.raises
        await self.go.wait()
        self.handled += sum(map(len, batch.values()))
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        raise AssertionError(why)


@asynccontextmanager
async def running(settings: Settings, handler: Slow, health: Health) -> AsyncIterator[BatchLoop]:
    loop = BatchLoop(settings, group="test", topics=[TOPIC], handler=handler, stage="test", health=health)
    task = asyncio.create_task(loop.run())
    try:
        yield loop
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def lags() -> dict[int, float]:
    """The lag by partition, as it is shown."""
    shown = {
        partition: REGISTRY.get_sample_value(
            "candor_consumer_lag_records", {"topic": TOPIC, "partition": str(partition)}
        )
        for partition in range(PARTITIONS)
    }
    return {partition: value for partition, value in shown.items() if value is not None}


def outage_seconds(dependency: str) -> float:
    return REGISTRY.get_sample_value("candor_outage_seconds_total", {"dependency": dependency}) or 0


def numbered(count: int) -> list[Message]:
    return [Message(b"%d" % number, b"%d" % number, []) for number in range(count)]


async def produce(settings: Settings, count: int) -> None:
    """So many records into partition 0."""
    producer = BatchProducer(settings, "test")
    await producer.start()
    await producer.produce(TOPIC, 0, numbered(count))
    await producer.stop()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="candor-test-", ignore_cleanup_errors=True) as folder:
        broker = Broker(Path(folder))
        broker.start()
        yield broker
        broker.stop()


@pytest.mark.timeout(240)
async def test_a_loop_without_records_is_not_ready_as_long_as_kafka_is_away(
    broker: Broker, tmp_path: Path
) -> None:
    settings = Settings(
        identifier_key=bytes(32), postgres_password="unused", kafka=broker.address, home=tmp_path
    )
    handler, health = Slow(), Health("test")
    handler.go.set()
    async with stack.topics_of(settings, [TOPIC]), running(settings, handler, health):
        await until(lambda: health.ready)
        await asyncio.to_thread(broker.stop)
        await until(lambda: not health.ready)
        assert "kafka" in str(health.reasons())
        for _ in range(40):  # as long as a few fetches that bring nothing
            assert not health.ready
            await asyncio.sleep(0.1)
        await asyncio.to_thread(broker.start)
        await until(lambda: health.ready)
        await produce(settings, 3)
        await until(lambda: handler.handled == 3)


async def test_the_lag_of_a_batch_that_does_not_end_grows(settings: Settings) -> None:
    handler, health = Slow(), Health("test")
    await produce(settings, 5)
    async with running(settings, handler, health):
        await until(handler.began.is_set)
        await until(lambda: lags().get(0) == 5)
        await produce(settings, 7)
        await until(lambda: lags()[0] == 12)
        assert not health.ready
        handler.go.set()
        await until(lambda: lags()[0] == 0)
        assert health.ready and lags().keys() == set(range(PARTITIONS))


async def test_the_lag_of_what_can_not_be_handled_grows(settings: Settings) -> None:
    handler = Slow()
    handler.raises = asyncpg.ConnectionDoesNotExistError("connection was closed")
    await produce(settings, 5)
    async with running(settings, handler, Health("test")):
        await until(lambda: lags().get(0) == 5)
        await produce(settings, 7)
        await until(lambda: lags()[0] == 12)


async def test_each_process_shows_the_lag_of_its_own_partitions(settings: Settings) -> None:
    """Both are in this process here: what one still showed of the other's would be seen."""
    first, second = Slow(), Slow()
    async with running(settings, first, Health("one")) as one:
        await until(lambda: lags().keys() == set(range(PARTITIONS)))
        async with running(settings, second, Health("two")) as two:
            await until(lambda: one._lag._assigned and two._lag._assigned)
            assert not one._lag._assigned & two._lag._assigned
            await until(lambda: lags().keys() == set(range(PARTITIONS)))
        await until(lambda: len(one._lag._assigned) == PARTITIONS)
    assert lags() == {}


async def test_the_end_of_a_transaction_is_no_lag(settings: Settings) -> None:
    handler = Slow()
    handler.go.set()
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka, transactional_id=f"{settings.topic_prefix}test"
    )
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(settings.topic(TOPIC), b"1", b"1", partition=0)
    finally:
        await producer.stop()
    health = Health("test")
    async with running(settings, handler, health):
        await until(lambda: handler.handled == 1 and health.ready)
        await until(lambda: lags().get(0) == 0)


@pytest.mark.parametrize(
    ("error", "dependency"),
    [
        (Outage("Postgres: TooManyConnectionsError", dependency="postgres"), "postgres"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), "postgres"),
        (Outage("Kafka did not acknowledge within 10 s"), "kafka"),
    ],
)
async def test_an_outage_counts_as_that_of_what_is_away(
    settings: Settings, error: Exception, dependency: str
) -> None:
    handler, health = Slow(), Health("test")
    handler.raises = error
    await produce(settings, 1)
    other = {"kafka": "postgres", "postgres": "kafka"}[dependency]
    before = outage_seconds(dependency), outage_seconds(other)
    async with running(settings, handler, health):
        await until(lambda: outage_seconds(dependency) > before[0])
        assert health.reasons()["loop test"].startswith(f"{dependency}: ")
    assert outage_seconds(other) == before[1]
