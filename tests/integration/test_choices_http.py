"""How many people were asked and what they chose, as pages tell it and operators read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from services.kernel import keys
from services.kernel.clock import DAY
from services.kernel.settings import ROOT, Settings
from tests.support.clock import ManualClock
from tests.support.consent import Instance, consent


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tokens(settings: Settings) -> dict[str, str]:
    return keys.ensure_default_keys(settings)


@pytest.fixture
async def one(settings: Settings, clock: ManualClock) -> AsyncIterator[Instance]:
    """With the policy that comes along, which has languages and jurisdictions."""
    async with consent(replace(settings, policy=ROOT / "deploy" / "policy.yaml"), clock) as instance:
        yield instance


async def shown(one: Instance, token: str | None, **body: Any) -> httpx.Response:
    return await one.http.post("/v1/policy/shown", json={"writeKey": token, **body})


async def stats(one: Instance, token: str, **query: str) -> dict[str, Any]:
    await one.showings.write()
    bearer = {"Authorization": f"Bearer {token}"}
    answer = await one.http.get("/v1/policy/stats", params=query, headers=bearer)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def decide(one: Instance, token: str, id: str, purposes: dict[str, str], method: str) -> None:
    body = {
        "identifier": "anonymous_id:a",
        "id": id,
        "purposes": purposes,
        "method": method,
        "language": "de",
        "jurisdiction": "DE",
    }
    answer = await one.http.post("/v1/decisions", json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text


async def test_who_was_asked_and_what_they_said_adds_up(one: Instance, tokens: dict[str, str]) -> None:
    web, admin = tokens["demo-web"], tokens["admin"]
    for _ in range(3):
        assert (await shown(one, web, language="de", jurisdiction="DE")).status_code == 204
    await shown(one, web, language="no-such-language", jurisdiction="DE-BE")
    await decide(one, web, "1", {"*": "grant"}, "accept")
    await decide(one, web, "1", {"*": "grant"}, "accept")
    await decide(one, web, "2", {"marketing": "deny"}, "save")
    found = await stats(one, admin)
    assert (found["shown"], found["answers"]) == (4, {"accept": 1, "save": 1})
    assert found["purposes"]["marketing"] == {
        "granted": 1,
        "denied": 1,
        "withdrawn": 1,
        "withdrawal_rate": 1.0,
    }
    assert found["purposes"]["analytics"]["withdrawal_rate"] == 0.0
    assert {name: part["shown"] for name, part in found["by_language"].items()} == {"de": 3, "other": 1}
    assert found["by_jurisdiction"]["DE"]["shown"] == 4
    labels = {"choice": "withdrawn", "purpose": "marketing", "language": "de", "jurisdiction": "DE"}
    assert REGISTRY.get_sample_value("candor_choices_total", labels) is not None


async def test_days_are_chosen(one: Instance, clock: ManualClock, tokens: dict[str, str]) -> None:
    await shown(one, tokens["demo-web"])
    await one.showings.write()
    clock.advance(40 * DAY)
    await shown(one, tokens["demo-web"])
    now = await stats(one, tokens["admin"])
    assert now["shown"] == 1
    assert (await stats(one, tokens["admin"], since="1970-01-01"))["shown"] == 2
    assert (await stats(one, tokens["admin"], since="1970-01-01", until=now["since"]))["shown"] == 1
    bearer = {"Authorization": f"Bearer {tokens['admin']}"}
    wrong = await one.http.get("/v1/policy/stats", params={"since": "soon"}, headers=bearer)
    assert (wrong.status_code, "since" in wrong.json()["detail"]) == (400, True)
    assert (await stats(one, tokens["admin"], until="0001-01-05"))["since"] == "0001-01-01"


async def test_counting_takes_a_key_and_reading_the_scope(one: Instance, tokens: dict[str, str]) -> None:
    assert (await shown(one, None)).status_code == 401
    bearer = {"Authorization": f"Bearer {tokens['demo-web']}"}
    refused = await one.http.get("/v1/policy/stats", headers=bearer)
    assert (refused.status_code, "consent:read" in refused.json()["detail"]) == (403, True)


async def test_gpc_is_said_to_be_honoured(one: Instance) -> None:
    answer = await one.http.get("/.well-known/gpc.json")
    assert answer.json()["gpc"] is True
    assert answer.json().keys() == {"gpc", "lastUpdate"}


async def test_what_was_shown_stands_in_the_ledger(one: Instance, tokens: dict[str, str]) -> None:
    told = {
        "text_hash": "5f2e",
        "policy_version": 3,
        "language": "fr",
        "jurisdiction": "FR",
        "regime": "opt_in",
        "shown": ["analytics", "marketing"],
        "url": "https://shop.example/",
    }
    body = {"identifier": "anonymous_id:b", "purposes": {"*": "deny"}, "method": "reject", **told}
    bearer = {"Authorization": f"Bearer {tokens['demo-web']}"}
    assert (await one.http.post("/v1/decisions", json=body, headers=bearer)).status_code == 200
    bearer = {"Authorization": f"Bearer {tokens['admin']}"}
    (row,) = (await one.http.get("/v1/ledger/anonymous_id:b", headers=bearer)).json()["decisions"]
    assert row["record"].items() >= told.items()
    assert row["record"]["regime_in_force"] == "opt_in"
