"""What people are asked and told over HTTP, a policy that changes meanwhile, and what the catalog lacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.consent import store
from services.consent.flow.unlisted import KEPT, PER_SOURCE, SAMPLES, STANDS, Search
from services.kernel import codec, keys
from services.kernel.clock import DAY
from services.kernel.message import Message
from services.kernel.policy import load
from services.kernel.settings import ROOT, Settings
from tests.support.clock import ManualClock
from tests.support.consent import Instance, consent, published, until
from tests.support.policy import InForce
from tests.support.profile import make_event

TEXT = (ROOT / "deploy" / "policy.yaml").read_text()
IN_TIME = 2.0
"""Seconds within which a changed policy is in force."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def one(settings: Settings, clock: ManualClock, file: Path) -> AsyncIterator[Instance]:
    async with consent(replace(settings, policy=file), clock) as instance:
        yield instance


async def asked(one: Instance, **query: str) -> Any:
    answer = await one.http.get("/v1/policy", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_person_is_asked_in_their_language_by_the_law_of_their_place(one: Instance) -> None:
    policy = load(ROOT / "deploy" / "policy.yaml")
    german = await asked(one, language="de-AT", jurisdiction="at")
    assert (german["language"], german["regime"], german["jurisdiction"]) == ("de", "opt_in", "AT")
    assert german["text_hash"] == policy.text_hash("de") and german["hash"] == policy.hash
    assert german["texts"]["reject"] == policy.texts["de"].banner.reject
    assert [(purpose["id"], purpose["gpc"]) for purpose in german["purposes"]] == [
        ("analytics", False),
        ("personalization", True),
        ("marketing", True),
    ]
    assert german["languages"] == ["en", "de", "fr", "es"] and german["grants"] == {"days": 180}
    american = await asked(one, jurisdiction="US-NY")
    assert (american["language"], american["regime"], american["jurisdiction"]) == ("en", "opt_out", "US-NY")
    unknown = await asked(one)
    assert (unknown["regime"], unknown["jurisdiction"]) == ("opt_in", "*")


async def test_a_write_key_s_source_says_where_its_people_are(one: Instance, settings: Settings) -> None:
    web = keys.ensure_default_keys(settings)["demo-web"]
    assert (await asked(one, writeKey=web))["jurisdiction"] == "US"
    assert (await asked(one, writeKey=web, jurisdiction="DE"))["regime"] == "opt_in"
    assert (await asked(one, writeKey="nonsense"))["jurisdiction"] == "*"


async def test_anybody_may_ask_from_any_page_and_the_answer_may_be_kept_for_a_minute(one: Instance) -> None:
    for path in ("/v1/policy", "/v1/catalog"):
        answer = await one.http.get(path, headers={"Origin": "https://shop.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cache-control"] == "public, max-age=60"
    for path in ("/v1/policy", "/transparency"):
        assert (await one.http.get(f"{path}?jurisdiction=Texas")).status_code == 400
        assert (await one.http.get(f"{path}?jurisdiction=de")).status_code == 200


async def test_the_theme_is_whatever_file_the_operator_names(
    settings: Settings, clock: ManualClock, tmp_path: Path
) -> None:
    theme = tmp_path / "colours"
    theme.write_text(":root {}")
    async with consent(replace(settings, theme=theme), clock) as named:
        answer = await named.http.get("/pages/theme.css")
    assert (answer.text, answer.headers["content-type"]) == (":root {}", "text/css; charset=utf-8")


async def test_the_catalog_tells_what_is_collected_in_their_language(one: Instance) -> None:
    catalog = (await one.http.get("/v1/catalog?language=fr")).json()
    (order,) = [event for event in catalog["events"] if event["name"] == "Order Completed"]
    assert order["purposes"] == ["analytics", "personalization", "marketing"] and order["keep_days"] == 1098
    assert order["recipients"][0] == "Les personnes qui gèrent notre boutique"
    assert {"name": "total", "what": "Le prix de la commande"} in order["fields"]
    (email,) = [trait for trait in catalog["traits"] if trait["name"] == "email"]
    assert email["why"] == "Votre adresse e-mail, pour vous écrire." and email["keep_days"] is None
    assert catalog["unlisted"] == []


def write(file: Path, version: int, old: str = "", new: str = "") -> None:
    file.write_text(TEXT.replace(old, new).replace("version: 2", f"version: {version}"))


def remove(file: Path) -> None:
    file.unlink()


# --- while it runs ------------------------------------------------------------------------------------


async def in_force(one: Instance, version: int) -> None:
    async with asyncio.timeout(IN_TIME):
        while (await asked(one))["version"] != version:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def wrong(is_wrong: bool) -> None:
    async with asyncio.timeout(IN_TIME):
        while REGISTRY.get_sample_value("candor_policy_wrong") != is_wrong:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_changed_policy_is_taken_up_and_a_wrong_one_changes_nothing(
    one: Instance, file: Path
) -> None:
    write(file, 7, '"*": opt_in', '"*": opt_out')
    await in_force(one, 7)
    assert (await asked(one))["regime"] == "opt_out"
    assert REGISTRY.get_sample_value("candor_policy_version") == 7

    write(file, 8, "opt_out", "no_idea")
    await wrong(True)
    assert (await asked(one))["version"] == 7
    remove(file)
    await asyncio.sleep(1)
    assert (await asked(one))["version"] == 7
    assert REGISTRY.get_sample_value("candor_policy_wrong") == 1

    write(file, 9)
    await in_force(one, 9)
    await wrong(False)


async def test_a_no_to_a_purpose_that_is_gone_is_no_less_a_no_to_the_rest(
    one: Instance, file: Path, settings: Settings
) -> None:
    """Of a page that has been open since before the policy changed, as of a decision sent again."""
    token = keys.ensure_default_keys(settings)["demo-web"]

    async def post(id: str, purposes: list[str], choice: str = "deny") -> Any:
        body = {"id": id, "identifiers": {"anonymous_id": "a"}, "purposes": dict.fromkeys(purposes, choice)}
        answer = await one.http.post("/v1/decisions", json={"writeKey": token, **body})
        return answer.json() if answer.is_success else answer.status_code

    before = ["analytics", "personalization"]
    assert (await post("yes", [*before, "marketing"], "grant"))["position"] == 1
    assert (await post("some", before))["ignored"] == []
    write(file, 3, "personalization", "tailoring")
    await in_force(one, 3)

    again = await post("some", before)
    assert (again["position"], again["ignored"]) == (2, ["personalization"])
    every = await post("every", [*before, "marketing"])
    assert every["purposes"] == {"analytics": "deny", "marketing": "deny"}
    assert (every["position"], every["ignored"]) == (3, ["personalization"])
    nothing = await post("gone", ["personalization"])
    assert (nothing["position"], nothing["purposes"], nothing["ignored"]) == (None, {}, ["personalization"])
    assert await post("grant", before, "grant") == 400
    [(_, state)] = (await published(settings))[-1:]
    assert {"analytics", "marketing"} <= set(state.denied)


# --- what the catalog lacks ---------------------------------------------------------------------------


async def found(search: Search, clock: ManualClock, *events: dict[str, Any]) -> None:
    messages = [
        Message(b"k", codec.encode(make_event(clock, f"m{number}", user_id="u", **fields)))
        for number, fields in enumerate(events)
    ]
    search.offer({0: (messages, 0)})
    await search._note(search._new())


async def unlisted(one: Instance) -> list[tuple[str, str | None, str, str]]:
    shown = (await one.http.get("/v1/catalog")).json()["unlisted"]
    return [(item["kind"], item["event"], item["name"], item["source"]) for item in shown]


async def test_what_was_seen_and_does_not_stand_in_the_catalog_is_listed(
    one: Instance, clock: ManualClock, file: Path
) -> None:
    search = Search(one.pool, InForce(load(file)), clock)
    ordered = {"total": 5, "coupon": {"code": "x"}}
    traits = {"email": "e", "shoe_size": 44}
    await found(
        search,
        clock,
        {"name": "Order Completed", "properties": ordered},
        {"name": "Wish Listed", "properties": {"sku": "1"}},
        {"type": "identify", "name": None, "traits": traits, "source": "app"},
        {"type": "screen", "name": "Home"},
        {"name": "Wish Listed by ann@example.com"},
    )
    expected = [
        ("trait", None, "shoe_size", "app"),
        ("event", None, "$screen", "web"),
        ("event", None, "Wish Listed", "web"),
        ("event", None, "…", "web"),
        ("field", "Order Completed", "coupon", "web"),
    ]
    assert sorted(await unlisted(one), key=str) == sorted(expected, key=str)

    write(file, 3, "        total: {en", "        coupon: {en")
    await in_force(one, 3)
    assert ("field", "Order Completed", "coupon", "web") not in await unlisted(one)
    clock.advance(KEPT + DAY)
    assert await unlisted(one) == []


async def test_senders_can_not_fill_the_list(one: Instance, clock: ManualClock, file: Path) -> None:
    search = Search(one.pool, InForce(load(file)), clock)
    await found(search, clock, {"name": "First"})
    clock.advance(1)
    for turn in range(9):
        names = [{"name": f"Invented {turn} {number}"} for number in range(50)]
        await found(search, clock, *names)
    await found(search, clock, {"name": "Another", "source": "app"})
    listed = await unlisted(one)
    assert sum(source == "web" for *_, source in listed) == PER_SOURCE
    assert ("event", None, "First", "web") in listed and ("event", None, "Another", "app") in listed


async def test_names_that_keep_coming_keep_no_other_away_for_longer_than_a_day(
    one: Instance, clock: ManualClock, file: Path
) -> None:
    invented = [{"name": f"Invented {number}"} for number in range(PER_SOURCE)]
    late = ("event", None, "Late", "web")

    async def listed_after(*events: dict[str, Any]) -> bool:
        for start in range(0, len(events), SAMPLES):
            search = Search(one.pool, InForce(load(file)), clock)
            await found(search, clock, *events[start : start + SAMPLES])
        listed = await unlisted(one)
        assert len(listed) == PER_SOURCE
        return late in listed

    assert not await listed_after(*invented, {"name": "Late"})
    clock.advance(STANDS + 1)
    assert await listed_after({"name": "Late"}, *invented)


async def test_a_transaction_that_lost_against_another_does_not_end_the_search(
    one: Instance, clock: ManualClock, file: Path
) -> None:
    search = Search(one.pool, InForce(load(file)), clock)
    await found(search, clock, {"name": "First"})
    search = Search(one.pool, InForce(load(file)), clock)
    search.offer({0: ([Message(b"k", codec.encode(make_event(clock, "m", name="First")))], 0)})
    async with one.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM unlisted FOR UPDATE")
        running = asyncio.create_task(search.run())
        waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
        await until(lambda: one.pool.fetchval(waits))
        await other.execute(store.QUERIES.lock_unlisted)  # which the search has: it waits longer, so it loses
    clock.advance(1)
    search.offer({0: ([Message(b"k", codec.encode(make_event(clock, "n", name="Second")))], 0)})

    async def noted() -> bool:
        return running.done() or ("event", None, "Second", "web") in await unlisted(one)

    await until(noted)
    assert not running.done()
    running.cancel()
