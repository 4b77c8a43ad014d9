"""Views and gates on topics of a test's own, without Postgres; what decides and what collects events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.consent.flow.gate import GROUP, STAGE, Gate, gate_loop
from services.consent.flow.truncation import Truncation
from services.kernel import codec, headers
from services.kernel.clock import SystemClock
from services.kernel.deadletter import DeadLetters
from services.kernel.events import ConsentState, Event
from services.kernel.health import Health
from services.kernel.message import Message
from services.kernel.outcome import Outage
from services.kernel.permission import Judge, Stamp, project
from services.kernel.policy import Policies
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.view import View
from tests.support import stack
from tests.support.policy import OPT_OUT

STATE = "consent.state"
TOPICS = ("events.collected", "events.permitted", "consent.signals", "deadletters", STATE)
DENIED = codec.encode(ConsentState(1, ["*"], [], False, 0))
SOURCE = "web"


def settings_of(home: Path, kafka: str, prefix: str) -> Settings:
    return Settings(
        identifier_key=stack.IDENTIFIER_KEY,
        postgres_password="",
        home=home,
        kafka=kafka,
        topic_prefix=prefix,
        policy=OPT_OUT,
    )


@asynccontextmanager
async def producer_of(settings: Settings) -> AsyncIterator[BatchProducer]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def view_of(
    settings: Settings, project: Callable[[bytes], bytes] = project, folder: str = "view"
) -> AsyncIterator[View]:
    view = View(settings, STATE, settings.home / folder, project, Health("test"))
    await view.start()
    try:
        yield view
    finally:
        await view.stop()


async def passed(view: View, seconds: float = 30) -> None:
    """Wait until a barrier passes: the view may have to be built first."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await view.barrier()
            except Outage:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def gate_of(settings: Settings, *, quiet_seconds: float | None = None) -> AsyncIterator[Gate]:
    """A gate that runs, with truncation, until the block is left; fails with what ended it before."""
    async with producer_of(settings) as producer, view_of(settings) as view:
        clock = SystemClock()
        policies = Policies(settings.policy, clock)
        gate = Gate(
            view,
            Judge(policies),
            settings.hasher(),
            producer,
            DeadLetters(producer, clock, STAGE),
            Truncation(settings, GROUP, producer, quiet_seconds=quiet_seconds),
            clock,
        )
        async with asyncio.TaskGroup() as group:
            runs = gate_loop(settings, gate, Health("test")).run(), gate.truncation.run(), policies.run()
            tasks = [group.create_task(run) for run in runs]
            yield gate
            for task in tasks:
                task.cancel()


def event(message_id: str = "m", payload: bytes = b"{}") -> bytes:
    return codec.encode(
        Event(message_id, SOURCE, "track", "Viewed", "u", None, None, None, 1, False, 1, 0, payload)
    )


def collected(ids: Sequence[bytes], value: bytes | None, stamp: Stamp | None = None) -> Message:
    """A record as ingest writes it."""
    found = [
        (headers.IDENTIFIERS, b"".join(ids)),
        (headers.SOURCE, SOURCE.encode()),
        (headers.STARTED, b"%d" % SystemClock().now()),
    ]
    if stamp is not None:
        found.append((headers.STAMP, stamp.to_header()))
    return Message(ids[0], value, found)


@asynccontextmanager
async def reader_of(settings: Settings, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer with all partitions of the topic, at their beginning."""
    consumer = AIOKafkaConsumer(
        settings.topic(topic),
        bootstrap_servers=settings.kafka,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=50)
        yield consumer
    finally:
        await consumer.stop()


async def everything(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """All records that stand in the topic now."""
    async with reader_of(settings, topic) as consumer:
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(consumer.assignment())
        found: list[ConsumerRecord] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
        return found


async def judged(settings: Settings, seconds: float = 30) -> dict[TopicPartition, int]:
    """Wait until the gate has committed all that was collected; its offsets."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, group_id=settings.topic(GROUP), enable_auto_commit=False
    )
    async with reader_of(settings, "events.collected") as reader:
        ends = await reader.end_offsets(reader.assignment())
    await consumer.start()
    try:
        async with asyncio.timeout(seconds):
            while True:
                offsets = {tp: await consumer.committed(tp) or 0 for tp in ends}
                # The gate's ticks go on moving the ends.
                if all(offsets[tp] >= end for tp, end in ends.items()):
                    return offsets
                await asyncio.sleep(0.02)
    finally:
        await consumer.stop()
