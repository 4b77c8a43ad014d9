"""Wiring of the profile service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.kernel import topics
from services.kernel.audit import Audit
from services.kernel.clock import Clock
from services.kernel.consume import BatchLoop
from services.kernel.deadletter import DeadLetters
from services.kernel.health import Health
from services.kernel.http import create_app
from services.kernel.internal import internal_key
from services.kernel.keys import KeyRing
from services.kernel.permission import Judge, project
from services.kernel.policy import Policies
from services.kernel.postgres import connect, migrate
from services.kernel.produce import BatchProducer
from services.kernel.relay import Relay
from services.kernel.run import Running
from services.kernel.schedule import Schedule
from services.kernel.settings import Settings
from services.kernel.view import View
from services.profile.api import HANDLERS
from services.profile.control import Control
from services.profile.flow.applying import STAGE, Applying
from services.profile.flow.decisions import Decisions
from services.profile.flow.erasing import REQUESTS, Erasing
from services.profile.flow.erasing import STAGE as ERASING
from services.profile.flow.publishing import GoldenRecords, Links
from services.profile.flow.reading import Reader
from services.profile.flow.rectifying import Rectifying
from services.profile.flow.showing import Profiles
from services.profile.privacy_api import HANDLERS as PRIVACY
from services.profile.store import CHANNEL

SUMMARY = "Who a person is across identifiers, and what is known of them."


@asynccontextmanager
async def build(settings: Settings, health: Health, clock: Clock) -> AsyncIterator[Running]:
    """The service, built and connected; its tasks are run by kernel.run."""
    await topics.ensure(settings)
    await asyncio.to_thread(migrate, settings, "profile")
    async with AsyncExitStack() as stack:
        pool = await connect(settings, "profile")
        stack.push_async_callback(pool.close)
        producer = BatchProducer(settings, "candor-profile")
        await producer.start()
        stack.push_async_callback(producer.stop)
        view = View(settings, "consent.state", settings.home / "profile" / "consent-2", project, health)
        await view.start()
        stack.push_async_callback(view.stop)
        policies = Policies(settings.policy, clock)
        judge = Judge(policies)
        dead_letters = DeadLetters(producer, clock, STAGE)
        control = Control(pool, policies, clock)
        await control.run_once()
        schedule = Schedule(settings, "profile", health)
        control.schedule(schedule)
        events = BatchLoop(
            settings,
            group="profile",
            topics=["events.permitted"],
            handler=Applying(pool, view, judge, Reader(settings.hasher()), producer, dead_letters, clock),
            stage=STAGE,
            health=health,
        )
        decisions = BatchLoop(
            settings,
            group="profile-decisions",
            topics=["consent.state"],
            handler=Decisions(pool, dead_letters, clock),
            stage="profile-decisions",
            health=health,
        )
        erasing = BatchLoop(
            settings,
            group="profile-erasing",
            topics=[REQUESTS],
            handler=Erasing(pool, view, settings.hasher(), producer, clock),
            stage=ERASING,
            health=health,
        )
        golden = GoldenRecords(view, judge, clock)
        records = Relay(settings, "profiles", pool, golden, health, channel=CHANNEL)
        links = Relay(settings, "links", pool, Links(), health, channel=CHANNEL)
        app = create_app(
            "profile",
            SUMMARY,
            [*HANDLERS, *PRIVACY],
            health,
            KeyRing(settings.keyring, own=[internal_key(settings)]),
            Audit(producer, clock, "profile"),
            profiles=Profiles(pool, view, judge, clock),
            rectifying=Rectifying(pool, settings.hasher(), clock),
            hasher=settings.hasher(),
            clock=clock,
        )
        yield Running(
            app,
            {
                "policy": policies.run(),
                "events": events.run(),
                "decisions": decisions.run(),
                "erasing": erasing.run(),
                "records": records.run(),
                "links": links.run(),
                "schedule": schedule.run(),
                "view": _follow(view),
            },
        )


async def _follow(view: View) -> None:
    await view.task
