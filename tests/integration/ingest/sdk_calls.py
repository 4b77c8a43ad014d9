"""What an SDK sent, as it arrived: for the tests of SDKs that are no Python."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from services.kernel.events import Event
from tests.integration.ingest.world import World

Arrived = dict[str, tuple[Event, dict[str, Any]]]

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
"""The time that the apps give their order."""


async def arrived(world: World) -> Arrived:
    """Each event with its payload, by type; no type twice, no dead letter."""
    assert await world.letters() == []
    events = await world.events()
    found = {event.type: (event, msgspec.json.decode(event.payload)) for event in events}
    assert len(found) == len(events)
    return found


def check_server_calls(found: Arrived, library: str) -> None:
    """Those of an SDK for servers, as tests/sdk makes them."""
    assert set(found) == {"identify", "track", "page", "screen", "group", "alias"}
    assert {payload["context"]["library"]["name"] for _, payload in found.values()} == {library}
    identify, payload = found["identify"]
    assert (identify.user_id, payload["traits"]) == ("ü-1", {"name": "Jürgen"})
    track, payload = found["track"]
    assert (track.name, track.user_id) == ("Order Completed", "ü-1") and not track.timestamp_bounded
    assert abs(track.timestamp - int(MOMENT.timestamp() * 1_000_000)) < 10_000_000
    assert payload["properties"] == {"total": 12.5, "card": "[card visa 1111]"}
    page, payload = found["page"]
    assert page.name == "Home" and payload["properties"]["url"] == "https://shop.example/"
    screen = found["screen"][0]
    assert (screen.name, screen.user_id, screen.anonymous_id) == ("Start", None, "a-2")
    group, payload = found["group"]
    assert (group.group_id, payload["traits"]) == ("g-1", {"plan": "pro"})
    assert (found["alias"][0].previous_id, found["alias"][0].user_id) == ("a-1", "ü-1")
