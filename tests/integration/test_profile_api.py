"""The profile API and verification, over events that the real worker applied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.kernel import keys
from services.kernel.audit import Audit
from services.kernel.health import Health
from services.kernel.http import create_app
from services.kernel.keys import KeyRing
from services.kernel.permission import Judge
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.profile.api import HANDLERS
from services.profile.domain.facet import unpack
from services.profile.flow.showing import Profiles
from services.profile.flow.verify import verify
from tests.support.audit import acts
from tests.support.clock import ManualClock
from tests.support.policy import InForce, policy
from tests.support.profile import PURPOSES, Worker, World, make_event, running, worker


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield World(settings, ManualClock(), producer)
    await producer.stop()


@pytest.fixture
async def one(world: World) -> AsyncIterator[Worker]:
    """A worker that has applied a person who browsed, then logged in, told by two sources."""
    async with worker(world) as found:
        clock = world.clock
        await world.permit(
            make_event(clock, "m1", anonymous_id="a1", type="page", name="Home", ago=5_000_000),
            make_event(
                clock, "m2", type="identify", user_id="u1", anonymous_id="a1", ago=4_000_000,
                traits={"plan": "free", "age": 41},
            ),
            make_event(
                clock, "m3", type="identify", user_id="u1", source="crm", ago=3_000_000,
                traits={"plan": "pro"},
            ),
            make_event(clock, "m4", user_id="u1", name="Order Completed", properties={"total": 0.1}, ago=2),
            make_event(clock, "m5", user_id="u1", name="Order Completed", properties={"total": 0.2}, ago=1),
        )  # fmt: skip
        async with running(found.loop()):
            await found.applied(5)
        yield found


@pytest.fixture
async def client(one: Worker, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    judge = Judge(InForce(policy(purposes=PURPOSES)))
    app: Any = create_app(
        "profile",
        "",
        HANDLERS,
        Health("profile"),
        KeyRing(settings.keyring),
        Audit(one.world.producer, one.world.clock, "profile"),
        profiles=Profiles(one.pool, one.view, judge, one.world.clock),
        hasher=settings.hasher(),
        clock=one.world.clock,
    )
    token = keys.create(settings.keyring, "reader", "server", "crm")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://profile",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client


async def test_the_golden_record_is_shown_by_any_identifier(client: httpx.AsyncClient, world: World) -> None:
    by_user = (await client.get("/v1/profiles/user_id:u1")).json()
    assert by_user["traits"] == {"plan": "pro", "age": 41}
    assert by_user["user_ids"] == ["u1"]
    assert by_user["anonymous_ids"] == ["a1"]
    assert by_user["purposes"] == ["analytics", "marketing"]
    assert by_user["activity"]["Order Completed"]["count"] == 2
    assert by_user["activity"]["Order Completed"]["sums"] == {"total": "0.3"}
    for other in ("anonymous_id:a1", by_user["profile_id"], world.anonymous("a1").hex()):
        assert (await client.get(f"/v1/profiles/{other}")).json() == by_user


async def test_explain_names_source_event_time_and_rule(client: httpx.AsyncClient) -> None:
    explain = (await client.get("/v1/profiles/user_id:u1?explain=1")).json()["explain"]
    assert explain["plan"]["value"] == "pro"
    assert (explain["plan"]["source"], explain["plan"]["message_id"]) == ("crm", "m3")
    assert explain["plan"]["rule"] == "last by event time"
    assert explain["plan"]["identifier"] == "user_id:u1"
    assert [told["last"]["value"] for told in explain["plan"]["told"]] == ["pro", "free"]
    assert explain["age"]["message_id"] == "m2"


async def test_purposes_follow_decisions_at_once(
    client: httpx.AsyncClient, one: Worker, world: World
) -> None:
    await world.decide(world.anonymous("a1"), denied=["marketing"])
    await one.view.barrier()
    assert (await client.get("/v1/profiles/user_id:u1")).json()["purposes"] == ["analytics"]


async def test_identifiers_links_and_events(client: httpx.AsyncClient) -> None:
    identifiers = (await client.get("/v1/profiles/user_id:u1/identifiers")).json()["identifiers"]
    assert [(i["kind"], i["value"], i["root"], i["events"]) for i in identifiers] == [
        ("user_id", "u1", True, 4),
        ("anonymous_id", "a1", False, 1),
    ]
    [link] = (await client.get("/v1/profiles/user_id:u1/links")).json()["links"]
    assert (link["identifier"], link["with"], link["source"]) == ("anonymous_id:a1", "user_id:u1", "web")
    assert link["first"]["message_id"] == "m2"
    events = (await client.get("/v1/profiles/anonymous_id:a1/events?limit=2")).json()["events"]
    assert [event["message_id"] for event in events] == ["m5", "m4"]
    assert events[0]["properties"] == {"total": 0.2}
    assert events[0]["purposes"] == ["analytics", "marketing"]


@pytest.mark.parametrize(
    ("person", "status", "detail"),
    [("user_id:nobody", 404, "no such profile"), ("shoe_size:44", 400, "kind:value"), ("0" * 32, 404, "")],
)
async def test_errors_name_the_place(
    client: httpx.AsyncClient, person: str, status: int, detail: str
) -> None:
    answer = await client.get(f"/v1/profiles/{person}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


async def test_without_the_scope_nothing_is_shown(client: httpx.AsyncClient, settings: Settings) -> None:
    token = keys.create(settings.keyring, "app", "write", "web")
    answer = await client.get("/v1/profiles/user_id:u1", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert "profile:read" in answer.json()["detail"]
    assert (await client.get("/v1/profiles/user_id:u1", headers={"Authorization": ""})).status_code == 401


async def test_verification_finds_nothing_where_all_is_well(one: Worker, settings: Settings) -> None:
    report = await verify(one.pool, settings.hasher())
    assert (report.events, report.profiles, report.identifiers, report.faults) == (5, 1, 2, 0)


async def test_verification_finds_a_lost_event(one: Worker, settings: Settings) -> None:
    await one.pool.execute("DELETE FROM events WHERE at = (SELECT max(at) FROM events)")
    report = await verify(one.pool, settings.hasher())
    assert report.faults == 1
    assert "differs" in report.examples[0]


async def test_verification_finds_an_altered_facet(one: Worker, world: World, settings: Settings) -> None:
    state = await one.value("SELECT state FROM facets WHERE id = $1", world.user("u1"))
    facet = unpack(state)
    facet.events += 1
    facet.last_at += 1
    await one.pool.execute("UPDATE facets SET state = $1 WHERE id = $2", facet.pack(), world.user("u1"))
    assert (await verify(one.pool, settings.hasher())).faults == 1


async def test_every_read_is_logged_before_it_is_answered_with_who_why_and_whom(
    client: httpx.AsyncClient, world: World, settings: Settings
) -> None:
    (key,) = keys.list_keys(settings.keyring)
    why = {b"X-Candor-Reason": "Störung 7".encode()}
    profile = (await client.get("/v1/profiles/user_id:u1", headers=why)).json()["profile_id"]
    for path in (f"{profile}/identifiers", "anonymous_id:a1/links", "user_id:u1/events", "user_id:nobody"):
        await client.get(f"/v1/profiles/{path}")
    found = await acts(settings)
    root, nobody = bytes.fromhex(profile), settings.hasher()("user_id", "nobody")
    assert [(act.action, act.profiles, act.people) for act in found] == [
        ("profile.read", [root], 1),
        ("profile.identifiers", [root], 1),
        ("profile.links", [root], 1),
        ("profile.events", [root], 1),
        ("profile.read", [], 0),
    ]
    assert {(act.key_id, act.actor, act.service, act.outcome) for act in found} == {
        (key.id, "reader", "profile", "allowed")
    }
    assert [act.why for act in found] == ["Störung 7", None, None, None, None]
    assert found[2].identifiers == [world.anonymous("a1")]
    assert found[4].identifiers == [nobody]


async def test_a_read_that_can_not_be_logged_is_refused(
    client: httpx.AsyncClient, one: Worker, settings: Settings
) -> None:
    await one.world.producer.stop()
    answer = await client.get("/v1/profiles/user_id:u1")
    assert answer.status_code == 503
    assert answer.headers["retry-after"].isdigit()
    assert "u1" not in answer.text


async def test_a_read_that_the_key_may_not_is_refused_with_the_scope_and_logged(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    token = keys.create(settings.keyring, "app", "write", "web")
    bearer = {"Authorization": f"Bearer {token}"}
    for path in ("", "/identifiers", "/links", "/events"):
        answer = await client.get(f"/v1/profiles/user_id:u1{path}", headers=bearer)
        assert (answer.status_code, answer.json()["detail"]) == (403, "the key lacks the scope profile:read")
    found = await acts(settings)
    assert [(act.actor, act.outcome, act.people) for act in found] == [("app", "refused", 0)] * 4
