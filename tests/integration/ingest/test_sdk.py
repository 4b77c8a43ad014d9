"""Python SDKs, unmodified: each call arrives, once and whole."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec
import pytest
from customerio.analytics.client import Client as CustomerIo
from hightouch.htevents.client import Client as Hightouch
from rudderstack.analytics.client import Client as RudderStack
from segment.analytics.client import Client as Segment

from services.kernel.events import Event
from tests.integration.ingest.world import World


class Sdk(NamedTuple):
    """``library``: what it calls itself. ``refusal``: the code that it reads from a refused request."""

    client: type[Any]
    package: str
    library: str = "analytics-python"
    refusal: str = "unknown_write_key"


SDKS = (
    Sdk(Segment, "segment-analytics-python"),
    Sdk(RudderStack, "rudder-sdk-python"),
    Sdk(CustomerIo, "customerio-cdp-analytics"),
    Sdk(Hightouch, "events-sdk-python", "events-sdk-python", "unknown"),
)
each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=[sdk.package for sdk in SDKS])
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
"""Which two of them call: from Python 3.12 on it warns."""

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


@each_sdk
async def test_they_report_a_refusal_with_our_words(world: World, sdk: Sdk) -> None:
    [error] = await asyncio.to_thread(send, sdk.client, world.service.url, "candor_wrong", gzip=False)
    assert (error.status, error.code) == (401, sdk.refusal)
    assert "unknown write key" in error.message


@pytest.mark.parametrize("gzip", [False, True])
@each_sdk
async def test_every_call_arrives(world: World, sdk: Sdk, gzip: bool) -> None:
    errors = await asyncio.to_thread(send, sdk.client, world.service.url, world.server, gzip=gzip)
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
    assert libraries == [{"name": sdk.library, "version": version(sdk.package)}] * 7
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
