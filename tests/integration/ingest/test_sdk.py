"""The Python SDKs of Segment and RudderStack, unmodified: each call arrives, once and whole."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec
import pytest
from rudderstack.analytics.client import Client as RudderStack
from segment.analytics.client import Client as Segment

from services.kernel.events import Event
from tests.integration.ingest.world import World

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def send(sdk: type[Any], url: str, key: str, *, gzip: bool) -> list[Any]:
    """Each of its calls, flushed; the errors that it reports."""
    errors: list[Any] = []
    client = sdk(key, host=url, gzip=gzip, on_error=lambda error, _: errors.append(error), max_retries=1)
    client.identify("ü-1", {"name": "Jürgen", "age": 41})
    client.track("ü-1", "Order Completed", {"total": 12.5, "card": "4111 1111 1111 1111"}, timestamp=MOMENT)
    client.page("ü-1", "Shop", "Home", {"url": "https://shop.example/"})
    client.screen("ü-1", "App", "Start")
    client.group("ü-1", "g-1", {"plan": "pro"})
    client.alias("a-1", "ü-1")
    client.track(anonymous_id="a-2", event="Viewed", context={"ip": "203.0.113.77"})
    client.shutdown()
    return errors


@pytest.mark.parametrize("gzip", [False, True])
async def test_segments_sdk(world: World, gzip: bool) -> None:
    await check(Segment, world, gzip=gzip)


@pytest.mark.parametrize("gzip", [False, True])
async def test_rudderstacks_sdk(world: World, gzip: bool) -> None:
    await check(RudderStack, world, gzip=gzip)


@pytest.mark.parametrize("sdk", [Segment, RudderStack])
async def test_they_report_a_refusal_with_our_words(world: World, sdk: type[Any]) -> None:
    [error] = await asyncio.to_thread(send, sdk, world.service.url, "candor_wrong", gzip=False)
    assert (error.status, error.code) == (401, "unknown_write_key")


async def check(sdk: type[Any], world: World, *, gzip: bool) -> None:
    errors = await asyncio.to_thread(send, sdk, world.service.url, world.server, gzip=gzip)
    assert errors == []
    events: dict[tuple[str, str | None], Event] = {(e.type, e.name): e for e in await world.events()}
    assert set(events) == {
        ("identify", None),
        ("track", "Order Completed"),
        ("page", "Home"),
        ("screen", "Start"),
        ("group", None),
        ("alias", None),
        ("track", "Viewed"),
    }
    payloads = {key: msgspec.json.decode(event.payload) for key, event in events.items()}
    libraries = [payload["context"]["library"] for payload in payloads.values()]
    package = "segment-analytics-python" if sdk is Segment else "rudder-sdk-python"
    assert libraries == [{"name": "analytics-python", "version": version(package)}] * 7
    assert payloads["identify", None]["traits"] == {"name": "Jürgen", "age": 41}
    order = events["track", "Order Completed"]
    skew = order.timestamp - int(MOMENT.timestamp() * 1_000_000)
    assert abs(skew) < 10_000_000 and not order.timestamp_bounded
    assert payloads["track", "Order Completed"]["properties"] == {"total": 12.5, "card": "[card visa 1111]"}
    assert payloads["page", "Home"]["properties"] == {"category": "Shop", "url": "https://shop.example/"}
    assert (events["alias", None].previous_id, events["alias", None].user_id) == ("a-1", "ü-1")
    assert events["group", None].group_id == "g-1"
    assert (events["track", "Viewed"].anonymous_id, events["track", "Viewed"].user_id) == ("a-2", None)
    assert payloads["track", "Viewed"]["context"]["ip"] == "203.0.113.0"
    assert await world.letters() == []
