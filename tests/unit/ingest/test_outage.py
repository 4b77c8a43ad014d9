"""When readiness turns green again after an outage."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

from services.ingest.outage import Outages
from services.kernel.health import Health
from services.kernel.outcome import Outage


class Producer:
    bytes_under_way = 1


async def test_what_was_handed_in_after_the_outage_turns_it_green_however_much_is_under_way() -> None:
    health = Health("ingest")
    outages = Outages(cast(Any, Producer()), health)
    watching = asyncio.create_task(outages.watch())
    earlier = outages.count
    outages.met(Outage("away"))
    outages.worked(earlier)
    await asyncio.sleep(0)
    assert not health.ready
    between = outages.count
    outages.met(Outage("still away"))
    outages.worked(between)
    assert not health.ready
    outages.worked(outages.count)
    assert health.ready
    watching.cancel()


async def test_an_idle_service_recovers_by_itself() -> None:
    health, producer = Health("ingest"), Producer()
    outages = Outages(cast(Any, producer), health)
    outages.met(Outage("away"))
    watching = asyncio.create_task(outages.watch())
    await asyncio.sleep(0)
    assert not health.ready
    producer.bytes_under_way = 0
    async with asyncio.timeout(60):
        while not health.ready:
            await asyncio.sleep(0.05)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
