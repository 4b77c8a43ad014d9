"""Wiring of the ingest service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.ingest.api import Endpoint
from services.ingest.description import describe
from services.ingest.flow import TOPIC, Flow
from services.ingest.keys_api import HANDLERS
from services.ingest.letters import REQUESTS, RESULTS, Erasing
from services.ingest.letters import STAGE as ERASING
from services.ingest.outage import Outages
from services.ingest.plans import Plans
from services.ingest.privacy_api import privacy_copy
from services.ingest.recent import get_recent
from services.kernel import deadletter, topics
from services.kernel.audit import TOPIC as AUDIT
from services.kernel.audit import Audit
from services.kernel.clock import Clock
from services.kernel.consume import BatchLoop
from services.kernel.health import Health
from services.kernel.http import create_app
from services.kernel.internal import internal_key
from services.kernel.keys import KeyRing
from services.kernel.masking.cleaner import Cleaner
from services.kernel.masking.rules import Rules
from services.kernel.policy import Policies
from services.kernel.produce import BatchProducer
from services.kernel.recent.following import Recent
from services.kernel.run import Running
from services.kernel.settings import Settings

SUMMARY = "Takes events as Segment's SDKs send them. What is answered with 200 is durable."


@asynccontextmanager
async def build(settings: Settings, health: Health, clock: Clock) -> AsyncIterator[Running]:
    """The service, connected; its tasks are run by kernel.run. Raises InvalidRules,
    InvalidPolicy, InvalidPlan, and Outage while Kafka does not answer."""
    rules = Rules.load(settings.ingest_rules)
    policies = Policies(settings.policy, clock)
    await topics.ensure(settings, [TOPIC, deadletter.TOPIC, AUDIT, REQUESTS, RESULTS])
    producer = BatchProducer(settings, "candor-ingest")
    await producer.start()
    try:
        keyring = KeyRing(settings.keyring, own=[internal_key(settings)])
        audit = Audit(producer, clock, "ingest")
        outages = Outages(producer, health)
        recent = Recent(settings, policies, clock)
        rest = create_app(
            "ingest",
            SUMMARY,
            [*HANDLERS, get_recent, privacy_copy],
            health,
            keyring,
            audit,
            keyring_path=settings.keyring,
            recent=recent,
            settings=settings,
        )
        describe(rest)
        erasing = BatchLoop(
            settings,
            group="ingest-erasing",
            topics=[REQUESTS],
            handler=Erasing(settings, producer, clock),
            stage=ERASING,
            health=Health(ERASING),  # events are taken also while it can't be answered
        )
        plans = Plans(settings.plan)
        flow = Flow(producer, keyring, settings.hasher(), Cleaner(rules), plans, policies, clock)
        try:
            tasks = {"outages": outages.watch(), "erasing": erasing.run(), "policy": policies.run()}
            yield Running(Endpoint(flow, keyring, clock, rest, outages), tasks)
        finally:
            await recent.stop()
    finally:
        await producer.stop()
