"""A visit to the demo's shop: what is allowed shows up in the segment, what is refused nowhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx

from deploy.demo.segments import PROBED
from tests.web.popup.browser import Visit
from tests.web.site import Site, eventually, letters

IN = "You are in the segment"


def member(site: Site, visit: Visit) -> bool:
    id = visit.kept()["anonymous_id"]
    answer = site.ask("GET", "segment", f"/v1/segments/{PROBED}/why/anonymous_id:{id}")
    return answer.is_success and answer.json()["member"]


def look_around(visit: Visit) -> None:
    """To a record, and into the cart with it."""
    visit.click("Slow Harbour The Lantern Club €24.50", "link")
    visit.appears("Slow Harbour", "heading")
    visit.click("Put into the cart")


def log_in(visit: Visit, name: str) -> None:
    visit.click("My account", "link")
    visit.call("fill", "Name", name.title())
    visit.call("fill", "E-mail", f"{name}@example.com")
    visit.click("Log in")
    visit.appears(f"Hello, {name.title()}", "heading")


def to_ingest(site: Site, visit: Visit) -> list[dict[str, Any]]:
    return [one for one in visit.asked(site.services["ingest"].url) if one["method"] == "POST"]


def test_who_refuses_leaves_no_event_behind(site: Site) -> None:
    before = site.collected()
    with site.browser.visit(page=site.shop) as visit:
        visit.appears()
        look_around(visit)
        visit.click("Reject all")
        kept = visit.acknowledged()
        visit.click("Records", "link")
        look_around(visit)
        log_in(visit, letters())
        assert to_ingest(site, visit) == []
        assert not visit.js("Object.keys(localStorage).some((name) => name.startsWith('ajs'))")
    assert site.collected() == before
    assert site.profile(f"anonymous_id:{kept['anonymous_id']}") is None


def test_who_accepts_is_in_the_segment_until_they_buy_and_stays_one_person_after_the_log_in(
    site: Site,
) -> None:
    name = letters()
    with site.browser.visit(page=site.shop) as visit:
        visit.appears()
        visit.click("Accept all")
        visit.acknowledged()
        look_around(visit)
        visit.until(f"document.querySelector('#live').textContent.includes('{IN}')")
        assert member(site, visit)

        log_in(visit, name)
        id = visit.kept()["anonymous_id"]
        found = eventually(lambda: known(site, f"anonymous_id:{id}", name))
        user = found["user_ids"][0]
        [decision] = site.ask("GET", "consent", f"/v1/ledger/user_id:{user}").json()["decisions"]
        assert decision["method"] == "propagated"
        assert set(decision["purposes"].values()) == {"grant"}
        visit.until(f"document.querySelector('#live').textContent.includes('{IN}')")

        visit.click("Cart 1", "link")
        visit.click("Buy now")
        visit.until("document.querySelector('#live').dataset.member === 'false'")
        assert not member(site, visit)


def known(site: Site, person: str, name: str) -> dict[str, Any] | None:
    """The golden record once it has the account and its e-mail address."""
    found = site.profile(person)
    return (
        found
        if found and found["user_ids"] and found["traits"].get("email") == f"{name}@example.com"
        else None
    )


def test_a_later_no_of_the_account_outlives_a_log_in_with_an_older_yes(site: Site) -> None:
    name = letters()
    with site.browser.visit(page=site.shop) as visit:
        visit.appears()
        visit.click("Accept all")
        visit.acknowledged()
        log_in(visit, name)
        user = visit.js("fetch('/session').then((answer) => answer.json())")["user_id"]
        no = {"identifiers": {"user_id": user}, "purposes": {"marketing": "deny"}}
        site.ask("POST", "consent", "/v1/decisions", "demo-server", json=no).raise_for_status()
        visit.click("Log out")
        visit.appears("Log in", "heading")
        log_in(visit, name)
    with site.browser.visit(page=site.shop) as visit:  # another browser, whose yes is newer
        visit.appears()
        visit.click("Accept all")
        visit.acknowledged()
        assert not allowed(site, user)
        log_in(visit, name)
        assert allowed(site, user)


def allowed(site: Site, user: str, purpose: str = "marketing") -> bool:
    held = site.ask("GET", "consent", f"/v1/decisions/user_id:{user}").json()
    return bool(held["purposes"][purpose]["allowed"])


def test_a_choice_of_yes_and_no_is_passed_on_at_the_first_log_in_alone(site: Site) -> None:
    name = letters()
    choice = {
        "answered": True,
        "id": letters(),
        "decided_at": datetime.now(UTC).isoformat(),
        "purposes": {"analytics": True, "marketing": False},
    }

    def enter() -> str:
        body = {"name": name, "email": f"{name}@example.com", "choice": choice}
        answer = httpx.post(f"{site.shop}/login", json=body, timeout=30)
        return str(answer.raise_for_status().json()["user_id"])

    user = enter()
    assert enter() == user
    assert (allowed(site, user, "analytics"), allowed(site, user)) == (True, False)
    no = {"identifiers": {"user_id": user}, "purposes": {"analytics": "deny"}}
    site.ask("POST", "consent", "/v1/decisions", "demo-server", json=no).raise_for_status()
    assert enter() == user
    assert not allowed(site, user, "analytics")


def test_my_data_opens_the_customers_own_page(site: Site) -> None:
    name = letters()
    with site.browser.visit(page=site.shop) as visit:
        visit.appears()
        visit.click("Accept all")
        visit.acknowledged()
        visit.click("My account", "link")
        log_in(visit, name)
        user = visit.js("fetch('/session').then((answer) => answer.json())")["user_id"]
        visit.click("See my data", "link")
        visit.appears("What we know about you", "heading")
        assert f"user_id:{user}" in visit.call("text")
