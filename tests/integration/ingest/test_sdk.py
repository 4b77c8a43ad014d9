"""Segment's own SDK for Python, unmodified, against the ingest service: each call arrives, once and whole."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from segment.analytics.client import Client

from services.kernel.events import Event
from tests.integration.ingest.world import World

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def send(url: str, key: str, *, gzip: bool) -> list[Any]:
    """Each of its calls, flushed; the errors that it reports."""
    errors: list[Any] = []
    client = Client(key, host=url, gzip=gzip, on_error=lambda error, _: errors.append(error), max_retries=1)
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
async def test_all_its_calls_arrive(world: World, gzip: bool) -> None:
    errors = await asyncio.to_thread(send, world.service.url, world.server, gzip=gzip)
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


async def test_it_reports_a_refusal_with_our_words(world: World) -> None:
    [error] = await asyncio.to_thread(send, world.service.url, "candor_wrong", gzip=False)
    assert (error.status, error.code) == (401, "unknown_write_key")
