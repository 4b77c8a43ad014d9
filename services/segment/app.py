"""Wiring of the segment service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.kernel import topics
from services.kernel.audit import Audit
from services.kernel.clock import Clock
from services.kernel.consume import BatchLoop
from services.kernel.deadletter import DeadLetters
from services.kernel.health import Health
from services.kernel.http import create_app
from services.kernel.internal import internal_key
from services.kernel.keys import KeyRing
from services.kernel.policy import Policies
from services.kernel.postgres import connect, migrate
from services.kernel.produce import BatchProducer
from services.kernel.relay import Relay
from services.kernel.run import Running
from services.kernel.schedule import Schedule
from services.kernel.settings import Settings
from services.segment.api import HANDLERS
from services.segment.control import plan
from services.segment.flow.erasing import REQUESTS, Erasing
from services.segment.flow.erasing import STAGE as ERASING
from services.segment.flow.judging import STAGE, TOPIC, Judging
from services.segment.flow.publishing import Definitions, Transitions
from services.segment.flow.streaming import Streaming
from services.segment.privacy_api import HANDLERS as PRIVACY
from services.segment.store.catalog import CatalogStore
from services.segment.store.reading import Reader
from services.segment.store.statements import DEFINITIONS, SERVICE, TRANSITIONS
from services.segment.store.writing import Writer

SUMMARY = (
    "Live segments over golden records: definitions, members, why, and every entry and exit as a stream."
)


@asynccontextmanager
async def build(settings: Settings, health: Health, clock: Clock) -> AsyncIterator[Running]:
    """The service, ready to run; closes its connections at the end."""
    policies = Policies(settings.policy, clock)
    await topics.ensure(settings)
    await asyncio.to_thread(migrate, settings, SERVICE)
    pool = await connect(settings, SERVICE, size=12)
    producer = BatchProducer(settings, f"candor-{SERVICE}")
    await producer.start()
    try:
        catalogs, reader = CatalogStore(pool), Reader(pool)
        writer = Writer(pool, catalogs)
        letters = DeadLetters(producer, clock, STAGE)
        judging = Judging(writer, letters, settings.hasher(), clock)
        streaming = Streaming(reader, health)
        schedule = Schedule(settings, SERVICE, health)
        plan(schedule, judging, writer, reader, clock)
        loop = BatchLoop(settings, group=SERVICE, topics=[TOPIC], handler=judging, stage=STAGE, health=health)
        erasing = BatchLoop(
            settings,
            group="segment-erasing",
            topics=[REQUESTS],
            handler=Erasing(pool, producer, clock),
            stage=ERASING,
            health=health,
        )
        transitions = Relay(settings, "segment-transitions", pool, Transitions(), health, channel=TRANSITIONS)
        definitions = Relay(settings, "segment-definitions", pool, Definitions(), health, channel=DEFINITIONS)
        app = create_app(
            SERVICE,
            SUMMARY,
            [*HANDLERS, *PRIVACY],
            health,
            KeyRing(settings.keyring, own=[internal_key(settings)]),
            Audit(producer, clock, SERVICE),
            catalogs=catalogs,
            reader=reader,
            streaming=streaming,
            clock=clock,
            hasher=settings.hasher(),
            policies=policies,
        )
        yield Running(
            app,
            {
                "policy": policies.run(),
                "loop": loop.run(),
                "erasing": erasing.run(),
                "transitions relay": transitions.run(),
                "definitions relay": definitions.run(),
                "stream": streaming.run(),
                "schedule": schedule.run(),
            },
            streaming.close,
        )
    finally:
        await producer.stop()
        await pool.close()
