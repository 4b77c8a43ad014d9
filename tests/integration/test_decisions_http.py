"""POST /v1/decisions and what is shown of decisions: who may, what is refused, what an answer means."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.consent import api
from services.kernel import keys
from services.kernel.clock import DAY, SECOND
from services.kernel.settings import Settings
from tests.support.audit import acts
from tests.support.clock import ManualClock
from tests.support.consent import Instance, consent, published


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tokens(settings: Settings) -> dict[str, str]:
    return keys.ensure_default_keys(settings)


@pytest.fixture
async def one(settings: Settings, clock: ManualClock, tokens: dict[str, str]) -> AsyncIterator[Instance]:
    async with consent(settings, clock) as instance:
        yield instance


async def post(instance: Instance, token: str | None, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await instance.http.post("/v1/decisions", json=body, headers=headers)


async def shown(instance: Instance, token: str, path: str) -> Any:
    answer = await instance.http.get(path, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_acknowledged_denial_is_published_in_force_and_on_the_ledger(
    settings: Settings, one: Instance, tokens: dict[str, str]
) -> None:
    answer = await post(
        one,
        tokens["demo-web"],
        identifiers={"user_id": "Zoë ", "anonymous_id": "a-1"},
        purposes={"marketing": "deny"},
        method="reject",
        language="de",
        id="click-1",
    )
    assert answer.status_code == 200
    hasher = settings.hasher()
    states = dict(await published(settings))
    assert (
        states[hasher("user_id", "Zoë")].denied
        == ["marketing"]
        == states[hasher("anonymous_id", "a-1")].denied
    )
    receipt = answer.json()
    assert receipt["identifiers"] == ["anonymous_id:a-1", "user_id:Zoë"]
    assert (receipt["id"], receipt["position"], receipt["method"]) == ("click-1", 1, "reject")
    held = await shown(one, tokens["admin"], "/v1/decisions/user_id:Zoë")
    assert held["purposes"]["marketing"] == {"allowed": False, "because": "denied"}
    assert held["purposes"]["analytics"] == {"allowed": True, "because": "default (opt_out)"}
    (row,) = (await shown(one, tokens["admin"], "/v1/ledger/anonymous_id:a-1"))["decisions"]
    assert row["record"]["language"] == "de"
    assert row["record"]["identifiers"] == receipt["identifiers"]


async def test_what_held_at_an_earlier_time(
    one: Instance, clock: ManualClock, tokens: dict[str, str]
) -> None:
    times = []
    for choice in ("deny", "grant"):
        await post(one, tokens["demo-server"], identifier="user_id:u/1", purposes={"*": choice})
        times.append(datetime.fromtimestamp(clock.now() / SECOND, UTC).isoformat())
        clock.advance(DAY)
    path = "/v1/decisions/user_id:u%2F1"
    allowed = {}
    for name, query in {"then": times[0], "later": times[1], "before": "2001-01-01T00:00:00Z"}.items():
        held = await shown(one, tokens["admin"], f"{path}?at={query}")
        allowed[name] = (held["purposes"]["marketing"]["allowed"], held["purposes"]["marketing"]["because"])
    assert allowed == {
        "then": (False, "denied"),
        "later": (True, "granted"),
        "before": (True, "default (opt_out)"),
    }
    assert (await shown(one, tokens["admin"], path))["purposes"]["marketing"]["because"] == "granted"


async def test_a_write_key_may_deny_for_anybody_but_grant_only_for_an_anonymous_id(
    one: Instance, tokens: dict[str, str]
) -> None:
    web = tokens["demo-web"]
    both = {"user_id": "u", "anonymous_id": "a"}
    assert (await post(one, web, identifiers=both, purposes={"*": "deny"})).status_code == 200
    assert (
        await post(one, web, identifiers={"anonymous_id": "a"}, purposes={"*": "grant"})
    ).status_code == 200
    refused = await post(one, web, identifiers=both, purposes={"analytics": "deny", "marketing": "grant"})
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert "consent:write" in refused.json()["detail"]
    assert len((await shown(one, tokens["admin"], "/v1/ledger/user_id:u"))["decisions"]) == 1
    granted = await post(one, tokens["demo-server"], identifiers=both, purposes={"marketing": "grant"})
    assert granted.status_code == 200


async def test_keys_may_come_as_basic_user_name_or_in_the_body(one: Instance, tokens: dict[str, str]) -> None:
    basic = base64.b64encode(f"{tokens['demo-web']}:".encode()).decode()
    body = {"identifiers": {"anonymous_id": "a"}, "purposes": {"*": "deny"}}
    answers = [
        await one.http.post("/v1/decisions", json=body, headers={"Authorization": f"Basic {basic}"}),
        await one.http.post(
            "/v1/decisions",
            content=httpx.Request("POST", "http://x", json={**body, "writeKey": tokens["demo-web"]}).content,
            headers={"Content-Type": "text/plain"},
        ),
        await post(one, None, **body),
        await post(one, "candor_wrong", **body),
        await one.http.post("/v1/decisions", json=body, headers={"Authorization": "Basic ?"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 401]


async def test_errors_name_their_place(one: Instance, tokens: dict[str, str]) -> None:
    answer = await post(
        one, tokens["demo-web"], identifiers={"anonymous_id": "a"}, purposes={"marketing": "maybe"}
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "purposes.marketing: expected grant or deny"


async def test_what_is_no_json_object_is_refused(one: Instance) -> None:
    for content in (b"", b"[]", b"{", b"[" * 100_000):
        answer = await one.http.post("/v1/decisions", content=content)
        assert answer.status_code in (400, 413)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_same_id_counts_once_and_never_for_another_decision(
    one: Instance, tokens: dict[str, str]
) -> None:
    body = {"identifiers": {"anonymous_id": "a"}, "purposes": {"marketing": "deny"}, "id": "click"}
    answers = await asyncio.gather(*(post(one, tokens["demo-web"], **body) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["position"] for answer in answers} == {1}
    other = await post(one, tokens["demo-web"], **{**body, "purposes": {"analytics": "deny"}})
    assert (other.status_code, other.json()["title"]) == (409, "Conflict")
    elsewhere = await post(one, tokens["demo-server"], **body)
    assert elsewhere.json()["position"] == 2


async def test_no_acknowledgement_without_publication(
    settings: Settings, clock: ManualClock, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "ACKNOWLEDGE_SECONDS", 0.5)
    body = {"identifiers": {"anonymous_id": "a"}, "purposes": {"marketing": "deny"}}
    async with consent(settings, clock, relay=False) as one:
        answer = await post(one, tokens["demo-web"], **body)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert await published(settings) == []
        monkeypatch.undo()
        async with consent(settings, clock):
            again = await post(one, tokens["demo-web"], **body, id=answer.json()["id"])
        assert (again.status_code, again.json()["position"]) == (200, 1)
    assert len(await published(settings)) == 1


async def test_gpc_is_noted_once_and_an_explicit_grant_answers_it(
    one: Instance, tokens: dict[str, str]
) -> None:
    web = tokens["demo-web"]
    signal = {"identifiers": {"anonymous_id": "a"}, "purposes": {"marketing": "deny"}, "method": "gpc"}
    await post(one, web, **signal)
    await post(one, web, identifiers={"anonymous_id": "a"}, purposes={"marketing": "grant"}, method="accept")
    repeated = await post(one, web, **signal)
    assert (repeated.status_code, repeated.json()["position"]) == (200, None)
    held = await shown(one, tokens["admin"], "/v1/decisions/anonymous_id:a")
    assert held["gpc"] and held["purposes"]["marketing"]["allowed"]


async def test_pages_of_other_sites_may_call(one: Instance, tokens: dict[str, str]) -> None:
    origin = {"Origin": "https://shop.example"}
    asked = await one.http.options(
        "/v1/decisions",
        headers={
            **origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )
    assert asked.status_code in (200, 204)
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
    answers = [asked, await one.http.get("/v1/policy", headers=origin)]
    answers.append(await one.http.post("/v1/decisions", json={}, headers=origin))
    assert answers[-1].status_code == 401
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {"*"}


async def test_reading_takes_a_key_with_the_scope(one: Instance, tokens: dict[str, str]) -> None:
    for path in ("/v1/decisions/user_id:u", "/v1/ledger/user_id:u"):
        assert (await one.http.get(path)).status_code == 401
        web = await one.http.get(path, headers={"Authorization": f"Bearer {tokens['demo-web']}"})
        assert web.status_code == 403
        assert "consent:read" in web.json()["detail"]
    bad = await one.http.get("/v1/decisions/email:x", headers={"Authorization": f"Bearer {tokens['admin']}"})
    assert bad.status_code == 400 and "kind:value" in bad.json()["detail"]


async def test_reading_decisions_is_logged_and_refused_without_the_scope(
    settings: Settings, one: Instance, tokens: dict[str, str]
) -> None:
    await shown(one, tokens["admin"], "/v1/decisions/user_id:ann")
    await shown(one, tokens["demo-server"], "/v1/ledger/user_id:ann")
    for path in ("/v1/decisions/user_id:ann", "/v1/ledger/user_id:ann"):
        answer = await one.http.get(path, headers={"Authorization": f"Bearer {tokens['demo-web']}"})
        assert (answer.status_code, answer.json()["detail"]) == (403, "the key lacks the scope consent:read")
    ann = settings.hasher()("user_id", "ann")
    found = await acts(settings)
    assert {(act.actor, act.action, tuple(act.identifiers), act.outcome) for act in found} == {
        ("admin", "decisions.read", (ann,), "allowed"),
        ("demo-server", "ledger.read", (ann,), "allowed"),
        ("demo-web", "decisions.read", (ann,), "refused"),
        ("demo-web", "ledger.read", (ann,), "refused"),
    }


async def test_card_numbers_reach_neither_the_ledger_nor_the_audit_log_nor_an_answer(
    settings: Settings, one: Instance, tokens: dict[str, str]
) -> None:
    card = "4111 1111 1111 1111"
    body = {"identifiers": {"user_id": "Ada"}, "purposes": {"marketing": "deny"}}
    answers = [
        await post(
            one, tokens["demo-web"], **body, url=f"/?n={card}&email=ada", shown=[{card: card, "cvv": 737}]
        ),
        await post(one, tokens["demo-web"], **body | {"identifiers": {"user_id": card}}),
        await post(one, tokens["demo-web"], **body | {"identifiers": {card: "u"}}),
        await post(one, tokens["demo-web"], **body, id=card),
        await post(one, tokens["demo-web"], **body | {"purposes": {card: "deny"}}),
        await one.http.get(
            "/v1/ledger/user_id:Ada",
            headers={"Authorization": f"Bearer {tokens['admin']}", "X-Candor-Reason": f"paid by {card}"},
        ),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 400, 400, 200, 200]
    record = answers[-1].json()["decisions"][0]["record"]
    assert record["url"] == "/?n=[card visa 1111]&email=***"
    assert record["shown"] == [{"[card visa 1111]": "[card visa 1111]"}]
    stored = str(await one.pool.fetch("SELECT convert_from(record, 'UTF8'), terms FROM ledger"))
    for text in (*[answer.text for answer in answers], stored, str(await acts(settings))):
        assert card not in text and card.replace(" ", "") not in text
    assert [act.why for act in await acts(settings)] == ["paid by [card visa 1111]"]
