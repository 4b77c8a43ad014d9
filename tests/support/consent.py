"""Consent services without the gate, inside a test's loop, and what stands in consent.state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.consent.api import CORS
from services.consent.flow.copying import COPIES_AT_ONCE
from services.consent.flow.decisions import TRANSACTION_SECONDS, Decisions
from services.consent.flow.privacy import Requests
from services.consent.flow.publication import TOPIC, UNPUBLISHED, Publications, StateSource
from services.consent.flow.showings import Showings
from services.consent.flow.signals import Signals, signals_loop
from services.consent.flow.visitors import Visitors
from services.consent.handlers import HANDLERS
from services.kernel import codec
from services.kernel.audit import Audit
from services.kernel.clock import Clock
from services.kernel.events import ConsentState
from services.kernel.health import Health
from services.kernel.http import create_app
from services.kernel.internal import Neighbours, internal_key
from services.kernel.keys import KeyRing
from services.kernel.policy import Policies
from services.kernel.postgres import Pool, connect
from services.kernel.produce import BatchProducer
from services.kernel.relay import Relay
from services.kernel.settings import Settings
from services.kernel.topics import registry
from tests.support.cleaner import CLEANER
from tests.support.connecting import connected


@dataclass(frozen=True, slots=True)
class Instance:
    """One consent process, as it were."""

    pool: Pool
    decisions: Decisions
    publications: Publications
    showings: Showings
    requests: Requests
    health: Health
    http: httpx.AsyncClient


@asynccontextmanager
async def consent(
    settings: Settings,
    clock: Clock,
    *,
    relay: bool = True,
    signals: bool = False,
    sweep: float = 1.0,
    neighbours: Neighbours | None = None,
) -> AsyncIterator[Instance]:
    """An instance that runs until the block is left. Without ``relay`` another must publish."""
    policies = Policies(settings.policy, clock)
    health = Health("consent")
    pool = await connect(settings, "consent", transaction_seconds=TRANSACTION_SECONDS)
    decisions, publications = Decisions(pool, policies, clock), Publications(pool)
    showings = Showings(pool, clock)
    producer = BatchProducer(settings, "test-consent", timeout=5)
    await producer.start()
    neighbours = neighbours or Neighbours(settings)
    requests = Requests(pool, decisions, publications, neighbours, producer, settings.hasher(), clock)
    runs: list[Coroutine[Any, Any, None]] = [
        decisions.run(),
        publications.run(),
        policies.run(),
        requests.run(),
    ]
    if relay:
        source = StateSource()
        runs.append(Relay(settings, "consent", pool, source, health, channel=UNPUBLISHED, sweep=sweep).run())
    if signals:
        runs.append(signals_loop(settings, Signals(settings, pool, decisions, policies), health).run())
    app = create_app(
        "consent",
        "",
        HANDLERS,
        health,
        KeyRing(settings.keyring, own=[internal_key(settings)]),
        Audit(producer, clock, "consent"),
        cors=CORS,
        settings=settings,
        pool=pool,
        policies=policies,
        hasher=settings.hasher(),
        clock=clock,
        decisions=decisions,
        publications=publications,
        showings=showings,
        requests=requests,
        visitors=Visitors(settings, pool, settings.hasher(), clock),
        neighbours=neighbours,
        copies=asyncio.Semaphore(COPIES_AT_ONCE),
        topics=registry(),
        cleaner=CLEANER,
    )
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    try:
        async with (
            asyncio.TaskGroup() as group,
            httpx.AsyncClient(transport=transport, base_url="http://consent", timeout=30) as http,
        ):
            tasks = [group.create_task(run) for run in runs]
            yield Instance(pool, decisions, publications, showings, requests, health, http)
            await connected(health)
            for task in tasks:
                task.cancel()
    finally:
        await neighbours.close()
        await producer.stop()
        await asyncio.wait_for(pool.close(), 10)


async def published(settings: Settings) -> list[tuple[bytes, ConsentState]]:
    """All records of consent.state with their keys; those of one key in their order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        topic = settings.topic(TOPIC)
        partitions = [TopicPartition(topic, number) for number in await _partitions(consumer, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.key, codec.decode(ConsentState, record.value)) for record in records]
        return found
    finally:
        await consumer.stop()


async def _partitions(consumer: Any, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()  # noqa: SLF001 - it has no public way to ask
    while not (partitions := consumer.partitions_for_topic(topic)):
        consumer._client.add_topic(topic)
        await consumer._client.force_metadata_update()
    return set(partitions)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
