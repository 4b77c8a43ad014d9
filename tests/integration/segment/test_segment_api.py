"""The HTTP API over a real Postgres: definitions, members, why, and who may ask."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from services.kernel.audit import TOPIC as AUDIT
from services.kernel.health import Health
from services.kernel.http import create_app
from services.kernel.keys import KeyRing, create, revoke
from services.kernel.settings import Settings
from services.segment.api import HANDLERS
from services.segment.domain.cursor import read_cursor
from services.segment.flow.streaming import Streaming
from tests.integration.segment.world import BERLIN, BOUGHT_LATELY, World, golden, orders, profile
from tests.support import stack
from tests.support.audit import acts, audit_of
from tests.support.policy import InForce, policy

ROME = {"trait": "city", "op": "eq", "value": "Rome"}
DEFINITION = {"name": "Romans", "purpose": "marketing", "rule": ROME}


@pytest.fixture
def stream(world: World) -> Streaming:
    """Not run, except by a test that reads it."""
    return Streaming(world.reader, Health("segment"), heartbeat=0.05, sweep=0.02)


@pytest.fixture
async def audited(alone: Settings, kafka: str, topic_prefix: str) -> AsyncIterator[Settings]:
    """Where the API's acts go."""
    settings = replace(alone, kafka=kafka, topic_prefix=topic_prefix)
    async with stack.topics_of(settings, [AUDIT]):
        yield settings


@pytest.fixture
async def api(world: World, stream: Streaming, audited: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API with an admin key; its keyring looks for changes at every call."""
    token = create(world.settings.keyring, "admin", "admin")
    health = Health("segment")
    async with audit_of(audited, world.clock, "segment") as audit:
        app = create_app(
            "segment",
            "",
            HANDLERS,
            health,
            KeyRing(world.settings.keyring, monotonic=itertools.count(0, 2).__next__),
            audit,
            catalogs=world.catalogs,
            reader=world.reader,
            streaming=stream,
            clock=world.clock,
            hasher=world.settings.hasher(),
            policies=InForce(policy()),
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(cast(Any, app)),
            base_url="http://segment",
            headers={"Authorization": f"Bearer {token}"},
        ) as client:
            yield client


async def test_a_segment_is_put_shown_changed_and_deleted(world: World, api: httpx.AsyncClient) -> None:
    await world.feed(golden("ada", city="Rome"), golden("bob", city="Berlin"))
    answer = await api.put("/v1/segments/rome", json={**DEFINITION, "key": "rome"})
    assert (answer.status_code, answer.json()["version"], answer.json()["filling"]) == (201, 1, True)
    await world.judging.revisit()
    shown = (await api.get("/v1/segments/rome")).json()
    assert shown.items() >= {**DEFINITION, "key": "rome", "members": 1, "filling": False}.items()
    assert (await api.put("/v1/segments/rome", json=DEFINITION)).json()["version"] == 1
    answer = await api.put("/v1/segments/rome", json={**DEFINITION, "name": "In Rome"})
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    await api.put("/v1/segments/berlin", json={**DEFINITION, "rule": BERLIN})
    listed = (await api.get("/v1/segments")).json()["segments"]
    assert [(item["key"], item["members"]) for item in listed] == [("berlin", 0), ("rome", 1)]
    assert (await api.delete("/v1/segments/rome")).status_code == 204
    for gone in (
        await api.get("/v1/segments/rome"),
        await api.delete("/v1/segments/rome"),
        await api.get("/v1/segments/rome/members"),
        await api.get("/v1/segments/rome/stream"),
    ):
        assert gone.status_code == 404
    assert (await api.put("/v1/segments/rome", json=DEFINITION)).json()["version"] == 4


async def test_all_pages_of_members_show_one_moment(world: World, api: httpx.AsyncClient) -> None:
    await world.define("rome", ROME)
    names = [f"person {i}" for i in range(25)]
    await world.feed(*(golden(name, city="Rome", anonymous_ids=[f"browser of {name}"]) for name in names))
    await world.publish()
    found, query = [], {"limit": "10"}
    while True:
        page = (await api.get("/v1/segments/rome/members", params=query)).json()
        found += page["members"]
        assert sum(read_cursor(page["stream_cursor"]).values()) == 25
        await world.feed(*(golden(name, 2, city="Berlin") for name in names), golden("new", city="Rome"))
        await world.publish()
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert {(m["profile_id"], m["user_id"], m["sequence"]) for m in found} == {
        (profile(name), name, 1) for name in names
    }
    assert len(found) == 25
    page = (await api.get("/v1/segments/rome/members")).json()
    assert [member["user_id"] for member in page["members"]] == ["new"]


async def test_a_snapshot_older_than_what_is_kept_is_gone(world: World, api: httpx.AsyncClient) -> None:
    await world.define("rome", ROME)
    await world.feed(golden("ada", city="Rome"))
    await world.publish()
    await world.reader.forget(world.clock.now() + 1, 10)
    answer = await api.get("/v1/segments/rome/members", params={"after": f"0~{profile('ada')}"})
    assert answer.status_code == 410


async def test_why_someone_is_in_or_out(world: World, api: httpx.AsyncClient) -> None:
    await world.define("rome", ROME)
    await world.define("buyers", BOUGHT_LATELY)
    now = world.clock.now()
    await world.feed(
        golden("ada", city="Rome", anonymous_ids=["browser"], activity=orders(now)),
        golden("bob", city="Rome", purposes=["analytics"]),
        golden("cy", city="Rome"),
    )
    why = (await api.get("/v1/segments/rome/why/user_id:ada")).json()
    assert (why["profile_id"], why["member"], why["holds"]) == (profile("ada"), True, True)
    assert why["rule"] == {**ROME, "holds": True, "fact": "Rome"}
    assert why["purpose"] == {"name": "marketing", "allowed": True}
    assert (why["last_transition"]["reason"], why["last_transition"]["published"]) == ("rule", False)
    await world.publish()
    assert (await api.get("/v1/segments/rome/why/anonymous_id:browser")).json()["last_transition"][
        "published"
    ]
    why = (await api.get(f"/v1/segments/buyers/why/{profile('ada')}")).json()
    assert (why["rule"]["fact"], why["may_change_at"]) == (1, "2024-10-05T00:00:00.000000Z")
    why = (await api.get("/v1/segments/rome/why/user_id:bob")).json()
    assert (why["member"], why["holds"], why["rule"]["holds"]) == (False, False, True)
    assert why["purpose"] == {"name": "marketing", "allowed": False}
    assert why["last_transition"] is None
    await world.feed(("cy", 2, "ada"))
    why = (await api.get(f"/v1/segments/rome/why/{profile('cy')}")).json()
    assert (why["member"], why["merged_into"]) == (False, profile("ada"))
    for person, status in (("user_id:nobody", 404), ("email:a@b.c", 400), ("abc", 400), ("0" * 32, 404)):
        assert (await api.get(f"/v1/segments/rome/why/{person}")).status_code == status


async def test_wrong_definitions_are_refused_with_every_place(api: httpx.AsyncClient) -> None:
    wrong = {"all": [BERLIN, {"event": "Order", "count": {"op": "around", "value": 3}}]}
    answer = await api.put("/v1/segments/Bad Key", json={"purpose": "spying", "rule": wrong, "colour": "red"})
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert [error["place"] for error in answer.json()["errors"]] == [
        "colour",
        "name",
        "key",
        "purpose",
        "rule.all[1].count.op",
    ]
    assert "rule.all[1].count.op: expected one of eq, " in answer.json()["detail"]
    for body in ("[]", "{", "null", "1"):
        assert (await api.put("/v1/segments/x", content=body)).status_code == 400


async def test_wrong_cursors_are_refused(world: World, api: httpx.AsyncClient) -> None:
    await world.define("rome", ROME)
    for path in (
        "/v1/stream?cursor=x",
        "/v1/segments/rome/stream?cursor=1.-2",
        "/v1/segments/rome/members?after=~~",
        "/v1/segments/rome/members?after=1~x",
        "/v1/segments/rome/members?limit=0",
    ):
        assert (await api.get(path)).status_code == 400, path


async def test_only_keys_with_the_scope_may(world: World, api: httpx.AsyncClient) -> None:
    server = create(world.settings.keyring, "server", "server", source="shop")
    for authorization, status in (("", 401), ("Bearer candor_x", 401), (f"Bearer {server}", 403)):
        sent = {"Authorization": authorization}
        for path in ("/v1/segments", "/v1/segments/x", "/v1/segments/x/members", "/v1/stream"):
            assert (await api.get(path, headers=sent)).status_code == status
        for path in ("/v1/segments/x/why/user_id:u", "/v1/segments/x/stream"):
            assert (await api.get(path, headers=sent)).status_code == status
        assert (await api.put("/v1/segments/x", json=DEFINITION, headers=sent)).status_code == status
        assert (await api.delete("/v1/segments/x", headers=sent)).status_code == status


async def test_a_stream_that_can_not_begin_yet_says_so(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/stream")
    assert (answer.status_code, answer.headers["retry-after"].isdigit()) == (503, True)


@pytest.mark.parametrize("path", ["/v1/stream", "/v1/segments/rome/stream"])
@pytest.mark.parametrize("how", ["revoked", "without the scope"])
async def test_a_stream_ends_when_its_key_may_no_longer_read(
    world: World, api: httpx.AsyncClient, stream: Streaming, path: str, how: str
) -> None:
    """The client gets its whole answer only once the stream has ended."""
    await world.define("rome", ROME)
    following = asyncio.create_task(stream.run())
    async with asyncio.timeout(40):
        while stream._tail is None:
            await asyncio.sleep(0.01)
        answer = asyncio.create_task(api.get(f"{path}?cursor=0"))
        while not stream._readers:
            await asyncio.sleep(0.01)
        await world.feed(golden("ada", city="Rome"))
        await world.publish()
        await asyncio.sleep(0.2)
        assert not answer.done()
        if how == "revoked":
            revoke(world.settings.keyring, "admin")
        else:
            keyring = world.settings.keyring.read_text()
            world.settings.keyring.write_text(keyring.replace('"segment:read"', '"consent:read"'))
        await world.feed(golden("bob", city="Rome"))
        await world.publish()
        text = (await answer).text
        while stream._readers:
            await asyncio.sleep(0.01)
    following.cancel()
    assert ": heartbeat" in text
    assert profile("ada") in text
    assert profile("bob") not in text


async def test_what_is_administered_and_read_is_logged_and_what_is_refused_too(
    world: World, api: httpx.AsyncClient, audited: Settings
) -> None:
    await api.put("/v1/segments/rome", json=DEFINITION, headers={"X-Candor-Reason": "spring campaign"})
    await world.feed(golden("ada", city="Rome"), golden("bob", city="Rome"))
    await world.publish()
    assert len((await api.get("/v1/segments/rome/members")).json()["members"]) == 2
    await api.get("/v1/segments/rome/why/user_id:ada")
    server = create(world.settings.keyring, "server", "server", source="shop")
    refused = {"Authorization": f"Bearer {server}"}
    for call in (api.delete, api.get):
        answer = await call("/v1/segments/rome", headers=refused)
        assert answer.json()["detail"].startswith("the key lacks the scope segment:")
    await api.delete("/v1/segments/rome")
    found = await acts(audited)
    told = {(act.actor, act.action, act.target, act.people, act.outcome) for act in found}
    assert told == {
        ("admin", "segments.put", "rome", 0, "allowed"),
        ("admin", "segments.members", "rome", 2, "allowed"),
        ("admin", "segments.why", "rome", 1, "allowed"),
        ("server", "segments.delete", "rome", 0, "refused"),
        ("server", "segments.read", "rome", 0, "refused"),
        ("admin", "segments.delete", "rome", 0, "allowed"),
    }
    by = {act.action: act for act in found if act.actor == "admin"}
    assert by["segments.put"].why == "spring campaign"
    people = sorted(bytes.fromhex(profile(name)) for name in ("ada", "bob"))
    assert by["segments.members"].profiles == people
    assert by["segments.why"].profiles == [bytes.fromhex(profile("ada"))]
    assert by["segments.why"].identifiers == [world.settings.hasher()("user_id", "ada")]


async def test_whom_a_stream_shows_is_logged(
    world: World, api: httpx.AsyncClient, stream: Streaming, audited: Settings
) -> None:
    await world.define("rome", ROME)
    following = asyncio.create_task(stream.run())
    async with asyncio.timeout(40):
        while stream._tail is None:
            await asyncio.sleep(0.01)
        answer = asyncio.create_task(api.get("/v1/segments/rome/stream?cursor=0"))
        while not stream._readers:
            await asyncio.sleep(0.01)
        await world.feed(golden("ada", city="Rome"), golden("bob", city="Rome"))
        await world.publish()
        shown = {bytes.fromhex(profile(name)) for name in ("ada", "bob")}
        while {id for act in await acts(audited) for id in act.profiles} != shown:
            await asyncio.sleep(0.05)
        stream.close()
        await answer
    following.cancel()
    found = await acts(audited)
    assert {(act.action, act.target) for act in found} == {("segments.stream", "rome")}
    assert sum(act.people == 0 for act in found) == 1  # its beginning
