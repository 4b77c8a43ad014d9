"""API keys over HTTP, at a running ingest service, and what they open there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.integration.ingest.world import World, track
from tests.support.audit import acts
from tests.support.outside import eventually


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The service, called with an admin key that has all scopes."""
    bearer = {"Authorization": f"Bearer {world.keys.admin}"}
    async with httpx.AsyncClient(base_url=world.service.url, headers=bearer, timeout=30) as client:
        await eventually(lambda: _answers(client, 200))
        yield client


async def _answers(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.get("/v1/keys")).status_code == status


async def make(api: httpx.AsyncClient, name: str, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/v1/keys", json={"name": name, "kind": "write", "source": "shop"} | fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def shown(api: httpx.AsyncClient, id: str) -> dict[str, Any] | None:
    """The key as the list has it."""
    found = (await api.get("/v1/keys")).json()["keys"]
    return next((key for key in found if key["id"] == id), None)


async def writes(world: World, token: str) -> bool:
    """Whether events may be written with it."""
    status = (await world.batch(track(), key=token)).status_code
    assert status in (200, 401)
    return status == 200


@pytest.mark.alone
async def test_a_key_is_made_used_and_revoked_within_five_seconds(
    world: World, api: httpx.AsyncClient
) -> None:
    made = await make(api, f"new-{world.source}", rate_events=50, rate_bytes=5000)
    await eventually(lambda: writes(world, made["token"]))
    listed = await shown(api, made["id"])
    assert listed is not None
    assert listed.items() >= {"source": "shop", "scopes": [], "rate_events": 50, "rate_bytes": 5000}.items()
    assert made["token"] not in (await api.get("/v1/keys")).text
    assert (await api.delete(f"/v1/keys/{made['id']}")).status_code == 204
    revoked = time.monotonic()

    async def refused() -> bool:
        return not await writes(world, made["token"])

    await eventually(refused)
    assert time.monotonic() - revoked < 5
    assert await shown(api, made["id"]) is None
    assert (await api.delete(f"/v1/keys/{made['id']}")).status_code == 404


async def test_a_rotated_key_writes_with_both_tokens_until_the_grace_is_over(
    world: World, api: httpx.AsyncClient
) -> None:
    made = await make(api, f"rotated-{world.source}")
    path = f"/v1/keys/{made['id']}/rotate"
    second = (await api.post(path, json={})).json()["token"]
    await eventually(lambda: writes(world, second))
    assert await writes(world, made["token"])
    third = (await api.post(path, json={"grace": 0})).json()["token"]
    await eventually(lambda: writes(world, third))
    assert [await writes(world, token) for token in (made["token"], second, third)] == [False, False, True]
    assert (await api.post("/v1/keys/none/rotate", json={})).status_code == 404


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"kind": "root"}, "kind"),
        ({"source": None}, "source"),
        ({"scopes": ["profile:read"]}, "scopes"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
        ({"expires": "2030-01-01T00:00:00"}, "expires"),
        ({"rate_events": 0}, "rate_events"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_no_key_is_refused_with_the_place(
    world: World, api: httpx.AsyncClient, fields: dict[str, Any], place: str
) -> None:
    body = {"name": f"x-{world.source}", "kind": "write", "source": "shop"} | fields
    answer = await api.post("/v1/keys", json=body)
    assert answer.status_code == 400
    assert place in answer.text


async def test_a_name_is_given_once(world: World, api: httpx.AsyncClient) -> None:
    await make(api, f"taken-{world.source}")
    body = {"name": f"taken-{world.source}", "kind": "admin"}
    assert (await api.post("/v1/keys", json=body)).status_code == 409


async def test_who_may_make_keys_gives_no_more_than_the_own_key_may(
    world: World, api: httpx.AsyncClient
) -> None:
    full = await make(api, f"full-{world.source}", kind="admin", source=None)
    maker = await make(
        api, f"maker-{world.source}", kind="admin", source=None, scopes=["keys:admin", "segment:read"]
    )
    bearer = {"Authorization": f"Bearer {maker['token']}"}
    async with httpx.AsyncClient(base_url=world.service.url, headers=bearer) as limited:
        await eventually(lambda: _answers(limited, 200))
        name = f"made-{world.source}"
        answer = await limited.post(
            "/v1/keys", json={"name": name, "kind": "admin", "scopes": ["profile:read"]}
        )
        assert answer.status_code == 403
        assert "profile:read" in answer.json()["detail"]
        assert (await limited.post(f"/v1/keys/{full['id']}/rotate", json={})).status_code == 403
        await make(limited, name, kind="admin", source=None, scopes=["segment:read"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("POST", "/v1/keys/x/rotate"), ("DELETE", "/v1/keys/x")],
)
async def test_a_refusal_says_which_scope_is_missing(world: World, method: str, path: str) -> None:
    answer = await world.client.request(
        method, path, json={}, headers={"Authorization": f"Bearer {world.server}"}
    )
    assert answer.status_code == 403
    assert "keys:admin" in answer.json()["detail"]
    assert (await world.client.request(method, path, json={})).status_code == 401


async def test_what_is_done_to_keys_is_logged_and_what_is_refused_too(
    world: World, api: httpx.AsyncClient
) -> None:
    made = await make(api, f"logged-{world.source}")
    await api.post(f"/v1/keys/{made['id']}/rotate", json={}, headers={"X-Candor-Reason": "leaked"})
    refused = {"Authorization": f"Bearer {world.server}"}
    assert (await api.delete(f"/v1/keys/{made['id']}", headers=refused)).status_code == 403
    await api.delete(f"/v1/keys/{made['id']}")
    found = [act for act in await acts(world.settings) if made["id"] in act.target]
    admin, server = f"admin-{world.source}", f"server-{world.source}"
    target = f"{made['id']} logged-{world.source}"
    assert [(act.actor, act.action, act.target, act.why, act.outcome) for act in found] == [
        (admin, "keys.create", target, None, "allowed"),
        (admin, "keys.rotate", target, "leaked", "allowed"),
        (server, "keys.revoke", made["id"], None, "refused"),
        (admin, "keys.revoke", target, None, "allowed"),
    ]


async def test_who_looks_at_keys_and_at_what_became_of_events_is_logged(
    world: World, api: httpx.AsyncClient
) -> None:
    path = f"/v1/sources/{world.source}/recent"
    before = len(await acts(world.settings))
    assert (await api.get("/v1/keys")).status_code == 200
    assert (await api.get(path)).status_code == 200
    refused = {"Authorization": f"Bearer {world.web}"}
    assert (await api.get(path, headers=refused)).status_code == 403
    found = (await acts(world.settings))[before:]
    assert sorted((act.action, act.target, act.outcome) for act in found) == [
        ("keys.list", "", "allowed"),
        ("sources.recent", world.source, "allowed"),
        ("sources.recent", world.source, "refused"),
    ]


async def test_last_use_is_written_when_the_service_stops(world: World, api: httpx.AsyncClient) -> None:
    made = await make(api, f"used-{world.source}")
    await eventually(lambda: writes(world, made["token"]))
    idle = await make(api, f"idle-{world.source}")
    assert world.service.stop() == 0
    world.service.start()
    world.service.wait_ready()
    used, unused = await shown(api, made["id"]), await shown(api, idle["id"])
    assert used is not None
    assert used["last_used"] is not None
    assert unused is not None
    assert unused["last_used"] is None
