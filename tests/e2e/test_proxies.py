"""Whose word counts on where a request came from: that of the proxies that the operator names, no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from services.kernel import codec
from services.kernel.events import Event
from tests.support.gate import everything
from tests.support.outside import Outside, eventually, track
from tests.support.ports import free_port
from tests.support.services import Service


@pytest.mark.parametrize(
    ("proxies", "recorded"),
    [("127.0.0.1", "203.0.113.0"), ("127.0.0.0/8,10.0.0.1", "203.0.113.0"), ("10.0.0.1", "127.0.0.0")],
)
async def test_x_forwarded_for_is_believed_of_named_proxies_alone(
    candor: Outside, proxies: str, recorded: str
) -> None:
    port = free_port()
    ingest = Service("ingest", replace(candor.settings, ingest_port=port))
    ingest.start({"CANDOR_PROXIES": proxies})
    try:
        ingest.wait_ready()
        user = candor.name("behind-a-proxy")
        answer = await candor.client.post(
            f"{ingest.url}/v1/track",
            json=track(user, "Viewed", f"{user}-1"),
            auth=(candor.tokens["demo-web"], ""),
            headers={"X-Forwarded-For": "203.0.113.77"},
        )
        assert answer.status_code == 200
        await eventually(lambda: _stands(candor, user))
        assert (await _contexts(candor, user)) == [recorded]
    finally:
        ingest.stop()


async def _stands(candor: Outside, user: str) -> bool:
    return bool(await _contexts(candor, user))


async def _contexts(candor: Outside, user: str) -> list[Any]:
    """The addresses that events of the person were stored with."""
    events = [
        codec.decode(Event, record.value) for record in await everything(candor.settings, "events.permitted")
    ]
    return [msgspec.json.decode(e.payload)["context"]["ip"] for e in events if e.user_id == user]
