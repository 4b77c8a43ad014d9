"""/preferences in a real Chromium, against the running services: choices and receipts, what is known, how to
correct, copy and erase it, and what a wrong link or a service that is away looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.consent.domain.visitor import sign_link
from services.kernel.identifier import Identifier
from services.kernel.internal import derived
from tests.web.popup.browser import Visit
from tests.web.site import Site, Visitor, eventually, letters

TITLE = "What we may use your data for"


def own(visitor: Visitor) -> str:
    return f"#visitor={visitor.proof}"


def said(visit: Visit, text: str) -> None:
    visit.until(f"document.querySelector('#said').textContent === {json.dumps(text)}")


def known_person(site: Site) -> str:
    """A user of whom there is a profile with an e-mail address and an event."""
    user = letters()
    site.ask(
        "POST", "consent", "/v1/decisions", "demo-server",
        json={"identifiers": {"user_id": user}, "purposes": {"*": "grant"}},
    ).raise_for_status()  # fmt: skip
    site.send(
        {"type": "identify", "userId": user, "traits": {"email": f"{user}@example.com", "first_name": "Ann"}},
        {"type": "track", "userId": user, "event": "Product Viewed", "properties": {"sku": "LP-101"}},
    )
    eventually(lambda: (site.profile(f"user_id:{user}") or {}).get("activity", {}).get("Product Viewed"))
    return user


def test_without_a_link_it_says_where_to_get_one(site: Site) -> None:
    with site.preferences() as visit:
        visit.appears("Open this page with your own link", "heading")
        visit.vanishes(TITLE, "heading")


@pytest.mark.parametrize("fragment", ["#link=wrong", "#visitor=wrong", "#visitor=d3Jvbmc.00"])
def test_a_link_that_proves_nothing_shows_nothing(site: Site, fragment: str) -> None:
    with site.preferences(fragment) as visit:
        visit.appears("This link does not work (any more)", "heading")
        visit.vanishes(TITLE, "heading")


def test_a_link_ends(site: Site) -> None:
    token = sign_link(derived(site.settings, "links"), [Identifier("user_id", letters())], 1)
    with site.preferences(f"#link={token}") as visit:
        visit.appears("This link does not work (any more)", "heading")


def test_nobody_else_sees_what_opened_the_page(site: Site) -> None:
    """It leaves the address bar at once, is in no address that was asked for, and survives a reload."""
    visitor = site.visitor(analytics="grant")
    with site.preferences(own(visitor)) as visit:
        visit.appears(TITLE, "heading")
        assert visit.js("location.href") == f"{site.consent}/preferences"
        visit.call("reload")
        visit.appears(TITLE, "heading")
        assert not [one for one in visit.asked(visitor.secret) if "#" not in one["url"]]


def test_choices_hold_at_once_and_each_has_a_receipt(site: Site) -> None:
    visitor = site.visitor(analytics="grant", marketing="deny")
    with site.preferences(own(visitor)) as visit:
        visit.appears(TITLE, "heading")
        assert switches(visit) == {"analytics": True, "personalization": False, "marketing": False}
        visit.call("check", "Marketing", True)
        visit.call("check", "Statistics", False)
        visit.click("Save my choice")
        said(visit, "Saved. It holds from now on.")
        assert held(site, visitor) == {"analytics": False, "personalization": False, "marketing": True}
        visit.click("Refuse all")
        visit.until("!document.querySelector('#choices input:checked')")
        assert not any(held(site, visitor).values())
        visit.js("document.querySelector('#receipts summary').click()")
        given = visit.call("download", "Download the receipt of")
        assert "chosen one by one" in visit.call("text")
    receipt = json.loads(given["content"])
    assert receipt["schema_version"].startswith("ISO/IEC TS 27560")
    assert {one["state"] for one in receipt["processing"]["purposes"]} == {"withdrawn"}
    rows = site.ask("GET", "consent", f"/v1/ledger/anonymous_id:{visitor.anonymous_id}").json()["decisions"]
    assert [row["method"] for row in rows] == ["save", "save", "reject"]
    assert rows[1]["record"]["text_hash"] and rows[1]["record"]["language"] == "en"


def switches(visit: Visit) -> Any:
    return visit.js(
        "Object.fromEntries([...document.querySelectorAll('#choices input')].map((i) => [i.name, i.checked]))"
    )


def held(site: Site, visitor: Visitor) -> dict[str, bool]:
    found = site.ask("GET", "consent", f"/v1/decisions/anonymous_id:{visitor.anonymous_id}").json()
    return {purpose: one["allowed"] for purpose, one in found["purposes"].items()}


def test_a_visitor_who_has_not_chosen_yet_can_choose_here(site: Site) -> None:
    visitor = site.visitor()
    with site.preferences(f"{own(visitor)}&key={site.tokens['demo-web']}") as visit:
        visit.appears(TITLE, "heading")
        assert "You have not asked for anything yet." in visit.call("text")
        visit.click("Show it here")
        said(visit, "Nothing is known about you.")
        visit.click("Allow all")
        said(visit, "Saved. It holds from now on.")
    assert all(held(site, visitor).values())


def test_what_is_known_is_shown_corrected_and_copied(site: Site) -> None:
    user = known_person(site)
    with site.preferences(site.link(user_id=user)) as visit:
        visit.appears(TITLE, "heading")
        visit.click("Show it here")
        said(visit, "This is all that we know.")
        visit.js("document.querySelectorAll('#known details').forEach((one) => (one.open = true))")
        text = visit.call("text")
        for part in (f"{user}@example.com", "Product Viewed", "LP-101", "demo-web", "Marketing"):
            assert part in text
        visit.click("Correct first_name")
        visit.appears("Correct this", "dialog")
        visit.call("fill", "first_name", "Änne")
        visit.click("Correct it")
        said(visit, "Your correction is on its way. Follow it under “Your requests”.")
        visit.appears("Correction done", "heading")
        eventually(lambda: site.profile(f"user_id:{user}")["traits"]["first_name"] == "Änne")  # type: ignore[index]
        made = visit.call("download", "Download as JSON")
        page = visit.call("download", "Download to read")
    values = json.loads(made["content"])["services"]["profile"]["values"]
    assert all({"what", "value", "source", "time", "purposes"} <= value.keys() for value in values)
    assert "Änne" in [value["value"] for value in values if value["what"] == "trait first_name"]
    assert page["name"] == "my-data.html" and f"{user}@example.com" in page["content"]


def test_erasing_takes_a_second_yes_and_runs_through_every_service(site: Site) -> None:
    user = known_person(site)
    with site.preferences(site.link(user_id=user)) as visit:
        visit.appears(TITLE, "heading")
        visit.click("Erase my data …")
        visit.appears("Erase everything?", "dialog")
        visit.click("Erase now")  # without the tick nothing happens
        visit.appears("Erase everything?", "dialog")
        visit.click("Cancel")
        visit.vanishes("Erase everything?", "dialog")
        assert site.profile(f"user_id:{user}")
        visit.click("Erase my data …")
        visit.call("check", "Yes, I want my data erased", True)
        visit.click("Erase now")
        said(visit, "Your data is being erased. Follow it under “Your requests”.")
        visit.appears("Erasure done", "heading")
        text = visit.call("text")
        for service in ("Choices", "Profile", "Segments", "Collection"):
            assert f"{service}: done" in text
        visit.js("document.querySelector('.remains summary').click()")
        assert "events.permitted" in visit.call("text")
        visit.until("!document.querySelector('#choices input:checked')")
    assert site.profile(f"user_id:{user}") is None


LOOKED = (
    "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/v1/privacy/requests/'))"
)


def test_what_failed_for_good_is_said_so_and_not_looked_at_again(site: Site) -> None:
    user = letters()  # of whom there is no profile to correct
    wrong = {"type": "rectification", "identifiers": {"user_id": user}, "traits": {"first_name": "Ann"}}
    site.ask("POST", "consent", "/v1/privacy/requests", "demo-server", json=wrong).raise_for_status()
    with site.preferences(site.link(user_id=user)) as visit:
        visit.appears("Correction failed, please ask again", "heading")
        assert "Profile: failed" in visit.call("text")
        visit.js("new Promise((over) => setTimeout(over, 3000))")  # longer than till the first look
        assert visit.js(f"{LOOKED}.length") == 0


def test_what_takes_long_is_looked_at_ever_less_often(site: Site) -> None:
    user = known_person(site)
    segment = site.services["segment"]
    segment.kill()
    try:
        asked = {"type": "erasure", "identifiers": {"user_id": user}}
        site.ask("POST", "consent", "/v1/privacy/requests", "demo-server", json=asked).raise_for_status()
        with site.preferences(site.link(user_id=user)) as visit:
            visit.until(f"{LOOKED}.length === 3")
            one, two, three = visit.js(f"{LOOKED}.map(({{ startTime }}) => startTime)")
            assert three - two > 1.2 * (two - one)
    finally:
        segment.start()
        segment.wait_ready()


def test_a_service_that_is_away_is_waited_for(site: Site) -> None:
    user = known_person(site)
    link = site.link(user_id=user)
    profile = site.services["profile"]
    profile.kill()
    with site.preferences(link) as visit:
        try:
            visit.appears("Not available just now", "heading")
        finally:
            profile.start()
            profile.wait_ready()
        visit.appears(TITLE, "heading")
        visit.vanishes("Not available just now", "heading")


@pytest.mark.parametrize(
    ("language", "title"),
    [
        ("en", "What we may use your data for"),
        ("de", "Wozu wir Ihre Daten nutzen dürfen"),
        ("fr", "À quoi nous pouvons utiliser vos données"),
        ("es", "Para qué podemos usar sus datos"),
    ],
)
def test_it_speaks_the_language_of_the_link(site: Site, language: str, title: str) -> None:
    visitor = site.visitor(analytics="grant")
    with site.preferences(f"{own(visitor)}&language={language}") as visit:
        visit.appears(title, "heading")
        assert visit.js("document.documentElement.lang") == language
