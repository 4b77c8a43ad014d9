"""The OWASP API Security Top 10 (2023), one test an item, against the running services."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from services.kernel import keys
from services.kernel.http import BEARER
from services.kernel.settings import SERVICES
from services.kernel.token import make_token
from tests.support.outside import Outside, eventually, track


async def documents(candor: Outside) -> dict[str, dict[str, Any]]:
    """The OpenAPI document of each service."""
    return {
        service: (await candor.client.get(candor.url(service, "/openapi.json"))).json()
        for service in SERVICES
    }


def guarded(found: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(service, method, path with names filled in) of what takes a bearer key."""
    for service, document in found.items():
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if isinstance(operation, dict) and BEARER[0] in operation.get("security", ()):
                    for part in ("person", "identifier"):
                        path = path.replace(f"{{{part}}}", "user_id:u")
                    yield service, method, path.replace("{", "").replace("}", "")


async def test_api1_object_level_authorization(candor: Outside) -> None:
    """A public key reads nobody; it denies for anybody, and grants for no user_id."""
    user = candor.name("owasp")
    await candor.decide({"user_id": user}, {"*": "deny"})
    for path in (f"/v1/decisions/user_id:{user}", f"/v1/ledger/user_id:{user}"):
        answer = await candor.client.get(candor.url("consent", path), headers=candor.bearer("demo-web"))
        assert answer.status_code == 403, path
    answer = await candor.client.get(
        candor.url("profile", f"/v1/profiles/user_id:{user}"), headers=candor.bearer("demo-web")
    )
    assert answer.status_code == 403
    answer = await candor.client.post(
        candor.url("consent", "/v1/decisions"),
        json={"identifiers": {"user_id": user}, "purposes": {"*": "grant"}},
        headers=candor.bearer("demo-web"),
    )
    assert answer.status_code == 403


async def test_api2_authentication(candor: Outside) -> None:
    """Without a live key nothing that takes one answers; the refusal does not tell what exists."""
    found = list(guarded(await documents(candor)))
    assert len(found) > 15
    for authorization in ("", "Bearer candor_live_x", f"Bearer {make_token()}", "Basic dTpw"):
        for service, method, path in found:
            answer = await candor.client.request(
                method,
                candor.url(service, path),
                json={"identifiers": {"user_id": "u"}, "purposes": {"*": "deny"}},
                headers={"Authorization": authorization},
            )
            assert answer.status_code == 401, (authorization, method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer"), path


async def test_api3_object_property_level_authorization(candor: Outside) -> None:
    """Members that nobody may set are refused by name; what nobody may see is in no answer."""
    admin = candor.bearer()
    refused: list[dict[str, Any]] = [{"id": "x"}, {"hash": "x"}, {"tokens": []}]
    for members in refused:
        body = {"name": candor.name("key"), "kind": "write", "source": "s"} | members
        answer = await candor.client.post(candor.url("ingest", "/v1/keys"), json=body, headers=admin)
        assert answer.status_code == 400, members
        assert next(iter(members)) in answer.text
    definition = {"name": "n", "purpose": "marketing", "rule": {"trait": "a", "op": "exists"}, "version": 9}
    answer = await candor.client.put(
        candor.url("segment", f"/v1/segments/{candor.name('s')}"), json=definition, headers=admin
    )
    assert answer.status_code == 400
    listed = (await candor.client.get(candor.url("ingest", "/v1/keys"), headers=admin)).text
    assert "hash" not in listed
    assert not any(token in listed for token in candor.tokens.values())


async def test_api4_resource_consumption(candor: Outside) -> None:
    """Bodies, pages and rates are bounded."""
    batch = {"writeKey": candor.tokens["demo-web"], "batch": [track("u", "Seen", secrets.token_hex(8))]}
    decision = {"identifiers": {"user_id": candor.name("owasp")}, "purposes": {"*": "deny"}}
    key = {"name": candor.name("key"), "kind": "write", "source": "s"}
    for service, path, body, most in (
        ("ingest", "/v1/batch", batch, 600_000),
        ("consent", "/v1/decisions", decision, 600_000),
        ("ingest", "/v1/keys", key, 10_000_000),  # of whoever administers
    ):
        for padding, statuses in ((most, {413}), (0, {200, 201})):  # but for its size the body is right
            content = json.dumps(body).encode() + b" " * padding
            answer = await candor.client.post(
                candor.url(service, path), content=content, headers=candor.bearer()
            )
            assert answer.status_code in statuses, (path, padding, answer.text)
    segment = await candor.segment({"trait": "a", "op": "exists"})
    answer = await candor.client.get(
        candor.url("segment", f"/v1/segments/{segment}/members"),
        params={"limit": 1_000_000},
        headers=candor.bearer(),
    )
    assert answer.status_code == 400
    name = candor.name("slow")
    slow, token = keys.draft(name, "write", name, rate_events=1)
    keys.add(candor.settings.keyring, slow)
    many = {"writeKey": token, "batch": [track("u", "Seen", secrets.token_hex(8)) for _ in range(10)]}

    async def held_back() -> bool:
        answer = await candor.client.post(candor.url("ingest", "/v1/batch"), json=many)
        return answer.status_code == 429 and answer.headers["retry-after"].isdigit()

    await eventually(held_back)


async def test_api5_function_level_authorization(candor: Outside) -> None:
    """A server key administers nothing, and is told which scope it lacks."""
    for method, service, path, scope in (
        ("PUT", "segment", "/v1/segments/x", "segment:admin"),
        ("DELETE", "segment", "/v1/segments/x", "segment:admin"),
        ("GET", "segment", "/v1/segments/x/members", "segment:read"),
        ("GET", "ingest", "/v1/keys", "keys:admin"),
        ("POST", "ingest", "/v1/keys", "keys:admin"),
    ):
        answer = await candor.client.request(
            method, candor.url(service, path), json={}, headers=candor.bearer("demo-server")
        )
        assert answer.status_code == 403, path
        assert scope in answer.json()["detail"], path


async def test_api6_sensitive_business_flows(candor: Outside) -> None:
    """With the key that stands in every page nobody undoes another's opt-out, by decision or by event."""
    user = candor.name("opted-out")
    await candor.decide({"user_id": user}, {"*": "deny"})
    consent = {"consent": {"categoryPreferences": {"analytics": True, "marketing": True}}}
    await candor.accepted(track(user, "Seen", f"{user}-1") | {"context": consent})
    await candor.passed_by(user)
    answer = await candor.client.get(
        candor.url("consent", f"/v1/decisions/user_id:{user}"), headers=candor.bearer()
    )
    assert not any(purpose["allowed"] for purpose in answer.json()["purposes"].values())
    assert await candor.count(f"user_id:{user}", "Seen") == 0


async def test_api7_server_side_request_forgery(candor: Outside) -> None:
    """Addresses in what is sent are never called."""
    called = asyncio.Event()
    server = await asyncio.start_server(lambda *_: called.set(), "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    user = candor.name("ssrf")
    event = track(user, "Seen", user) | {
        "properties": {"url": address, "$ref": address},
        "context": {"page": {"url": address, "referrer": address}, "webhook": address},
    }
    await candor.accepted(event)

    async def applied() -> bool:
        return await candor.count(f"user_id:{user}", "Seen") == 1

    await eventually(applied)
    settings = f"/v1/projects/{candor.tokens['demo-web']}/settings"
    await candor.client.get(candor.url("ingest", settings), headers={"Host": address.split("/")[2]})
    server.close()
    await server.wait_closed()
    assert not called.is_set()


async def test_api8_security_configuration(candor: Outside) -> None:
    """Pages of other origins can't read people's data, errors tell nothing of the code, docs load nothing."""
    for service in ("profile", "segment"):
        answer = await candor.client.options(
            candor.url(service, "/v1/segments"),
            headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"},
        )
        assert "access-control-allow-origin" not in answer.headers, service
    for service in SERVICES:
        answer = await candor.client.post(candor.url(service, "/v1/nothing"), content=b"\xff{")
        assert answer.status_code in (404, 405)
        assert "Traceback" not in answer.text and ".py" not in answer.text
        docs = (await candor.client.get(candor.url(service, "/docs"))).text
        assert "http://" not in docs.replace(candor.url(service, ""), "") and "https://" not in docs, service
    answer = await candor.client.get(
        candor.url("consent", "/v1/policy"), headers={"Origin": "https://a.example"}
    )
    assert "access-control-allow-credentials" not in answer.headers


async def test_api9_inventory(candor: Outside) -> None:
    """What is served stands in the documents; old and unknown versions are not there."""
    found = await documents(candor)
    known = ("/v1/", "/beacon/", "/sourceConfig", "/health", "/metrics")
    people = ("/consent.js", "/preferences", "/transparency", "/.well-known/gpc.json")
    for service, document in found.items():
        allowed = (*known, *people) if service == "consent" else known
        assert all(path.startswith(allowed) for path in document["paths"]), service
        for path in ("/v0/batch", "/v2/batch", "/admin", "/debug", "/.git/config", "/v1/internal"):
            assert (await candor.client.get(candor.url(service, path))).status_code == 404, (service, path)
    assert {"/v1/batch", "/v1/keys"} <= found["ingest"]["paths"].keys()


@pytest.mark.parametrize("value", [b"", b"\x00\x00\x00\x00\x63nonsense", b"{}"])
async def test_api10_consumption_of_what_others_write(candor: Outside, value: bytes) -> None:
    """Records in the topics that no service of ours wrote are put aside; what comes after them goes on."""
    producer = AIOKafkaProducer(bootstrap_servers=candor.settings.kafka)
    await producer.start()
    try:
        for topic in ("events.collected", "events.permitted"):
            for partition in range(8):
                await producer.send_and_wait(
                    candor.settings.topic(topic),
                    value,
                    key=b"x",
                    partition=partition,
                    headers=[("ids", b"short")],
                )
    finally:
        await producer.stop()
    user = candor.name("after")
    await candor.accepted(track(user, "Seen", user))

    async def applied() -> bool:
        return await candor.count(f"user_id:{user}", "Seen") == 1

    await eventually(applied)
    for service in SERVICES:
        assert (await candor.client.get(candor.url(service, "/health/ready"))).status_code == 200
