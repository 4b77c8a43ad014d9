"""Wiring of the consent service: decisions on one side, the gate on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.consent.api import CORS
from services.consent.control import plan
from services.consent.flow.audit import audit_loop
from services.consent.flow.copying import COPIES_AT_ONCE
from services.consent.flow.decisions import TRANSACTION_SECONDS, Decisions
from services.consent.flow.gate import GROUP, STAGE, Gate, gate_loop
from services.consent.flow.privacy import STAGE as PRIVACY
from services.consent.flow.privacy import Requests, results_loop
from services.consent.flow.publication import TOPIC, UNPUBLISHED, Publications, StateSource
from services.consent.flow.showings import Showings
from services.consent.flow.signals import Signals, signals_loop
from services.consent.flow.truncation import Truncation
from services.consent.flow.unlisted import Search
from services.consent.flow.visitors import Visitors
from services.consent.handlers import HANDLERS
from services.consent.tag import Tag
from services.kernel import topics
from services.kernel.audit import Audit
from services.kernel.clock import Clock
from services.kernel.deadletter import DeadLetters
from services.kernel.health import Health
from services.kernel.http import create_app
from services.kernel.internal import Neighbours, internal_key
from services.kernel.keys import KeyRing
from services.kernel.masking.cleaner import Cleaner
from services.kernel.masking.rules import Rules
from services.kernel.permission import Judge, project
from services.kernel.policy import Policies
from services.kernel.postgres import connect, migrate
from services.kernel.produce import BatchProducer
from services.kernel.relay import Relay
from services.kernel.run import Running
from services.kernel.schedule import Schedule
from services.kernel.settings import Settings
from services.kernel.view import View

SERVICE = "consent"
SUMMARY = "What people decided about their data, and the gate that lets through only what they allow."


@asynccontextmanager
async def build(settings: Settings, health: Health, clock: Clock) -> AsyncIterator[Running]:
    """The service, built and connected; its tasks are run by kernel.run."""
    policies = Policies(settings.policy, clock)
    await topics.ensure(settings)
    await asyncio.to_thread(migrate, settings, SERVICE)
    async with AsyncExitStack() as stack:
        pool = await connect(settings, SERVICE, transaction_seconds=TRANSACTION_SECONDS)
        stack.push_async_callback(pool.close)
        producer = BatchProducer(settings, f"candor-{SERVICE}")
        await producer.start()
        stack.push_async_callback(producer.stop)
        view = View(settings, TOPIC, settings.home / SERVICE / "state-2", project, health)
        await view.start()
        stack.push_async_callback(view.stop)

        decisions = Decisions(pool, policies, clock)
        publications = Publications(pool)
        showings = Showings(pool, clock)
        relay = Relay(settings, "consent", pool, StateSource(), health, channel=UNPUBLISHED)
        signals = signals_loop(settings, Signals(settings, pool, decisions, policies), health)
        schedule = Schedule(settings, SERVICE, health)
        plan(schedule, decisions.lapse)

        neighbours = Neighbours(settings)
        stack.push_async_callback(neighbours.close)
        hasher = settings.hasher()
        requests = Requests(pool, decisions, publications, neighbours, producer, hasher, clock)
        letters = DeadLetters(producer, clock, PRIVACY)

        truncation = Truncation(settings, GROUP, producer)
        dead_letters = DeadLetters(producer, clock, STAGE)
        search = Search(pool, policies, clock)
        gate = Gate(view, Judge(policies), hasher, producer, dead_letters, truncation, clock, search.offer)

        app = create_app(
            SERVICE,
            SUMMARY,
            HANDLERS,
            health,
            KeyRing(settings.keyring, own=[internal_key(settings)]),
            Audit(producer, clock, SERVICE),
            cors=CORS,
            pool=pool,
            policies=policies,
            settings=settings,
            hasher=hasher,
            clock=clock,
            decisions=decisions,
            tag=Tag(),
            publications=publications,
            showings=showings,
            requests=requests,
            visitors=Visitors(settings, pool, hasher, clock),
            neighbours=neighbours,
            copies=asyncio.Semaphore(COPIES_AT_ONCE),
            topics=topics.registry(),
            cleaner=Cleaner(Rules.load(settings.ingest_rules)),
        )
        yield Running(
            app,
            {
                "policy": policies.run(),
                "decisions": decisions.run(),
                "publications": publications.run(),
                "showings": showings.run(),
                "relay": relay.run(),
                "signals": signals.run(),
                "requests": requests.run(),
                "results": results_loop(settings, pool, letters, health).run(),
                "audit": audit_loop(settings, pool, health).run(),
                "schedule": schedule.run(),
                "gate": gate_loop(settings, gate, health).run(),
                "unlisted": search.run(),
                "truncation": truncation.run(),
                "view": _follow(view),
            },
        )


async def _follow(view: View) -> None:
    await view.task
