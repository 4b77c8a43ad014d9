"""Global Privacy Control, regimes, and Google's Consent Mode."""

from __future__ import annotations

from typing import Any

from tests.web.popup.browser import BANNER, LAYER, Visit
from tests.web.popup.conftest import Shop

UNDER_GPC = {"analytics": True, "personalization": False, "marketing": False}


def google(visit: Visit) -> list[tuple[str, dict[str, Any]]]:
    calls = visit.js("dataLayer.map((call) => [...call])")
    assert {call[0] for call in calls} == {"consent"}
    return [(call[1], call[2]) for call in calls]


def test_gpc_is_shown_and_denies_under_opt_out_before_any_choice(shop: Shop) -> None:
    with shop.browser.visit(page="fetch", gpc=True, attributes='data-jurisdiction="US-CA"') as visit:
        visit.appears()
        assert "Global Privacy Control" in visit.js("document.querySelector('.cm').innerText")
        kept = visit.acknowledged()
        choice = visit.js("candor.choice()")
        assert (choice["purposes"], choice["answered"], choice["gpc"]) == (UNDER_GPC, False, True)
        [event] = shop.permitted(kept["anonymous_id"], 1)
        assert event["context"]["consent"] == {"categoryPreferences": UNDER_GPC}
        visit.call("reload")
        visit.appears()
    [row] = shop.ledger(kept["anonymous_id"])
    assert (row["method"], row["purposes"]) == ("gpc", {"personalization": "deny", "marketing": "deny"})


def test_under_gpc_a_yes_to_everything_leaves_out_what_it_denies_and_a_switch_of_its_own_turns_it_on(
    shop: Shop,
) -> None:
    with shop.browser.visit(gpc=True) as visit:
        visit.appears()
        assert visit.kept() is None
        visit.click("Accept all")
        kept = visit.acknowledged()
        assert visit.js("candor.choice().purposes") == UNDER_GPC
        visit.click(LAYER)
        visit.appears(LAYER, "dialog")
        assert "Global Privacy Control" in visit.js("document.querySelector('.pm').innerText")
        visit.js("document.querySelector('[value=marketing]').click()")
        visit.click("Save my choice")
        visit.acknowledged()
        visit.call("reload")
        visit.ready()
        assert visit.js("candor.choice().purposes") == {**UNDER_GPC, "marketing": True}
    assert [row["method"] for row in shop.ledger(kept["anonymous_id"])] == ["accept", "save"]


def test_gpc_overrides_an_earlier_yes(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.click("Accept all")
        kept = visit.acknowledged()
        visit.call("turnGpcOn")
        visit.call("reload")
        visit.ready()
        visit.acknowledged()
        choice = visit.js("candor.choice()")
        assert (choice["purposes"], choice["answered"]) == (UNDER_GPC, True)
        visit.vanishes()
    assert shop.decided(kept["anonymous_id"]) == UNDER_GPC


def test_under_opt_out_closing_objects_to_nothing(shop: Shop) -> None:
    with shop.browser.visit(attributes='data-jurisdiction="US"') as visit:
        visit.appears()
        visit.click("Close")
        visit.vanishes()
        assert all(visit.js("candor.choice().purposes").values())
        assert visit.asked("/v1/decisions") == []


def test_google_is_told_no_before_its_tags_and_then_what_was_chosen(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        command, signals = google(visit)[0]
        assert command == "default" and signals.pop("wait_for_update") == 500
        assert signals == dict.fromkeys(
            [
                "ad_storage",
                "ad_user_data",
                "ad_personalization",
                "analytics_storage",
                "functionality_storage",
                "personalization_storage",
                "security_storage",
            ],
            "denied",
        )
        _, signals = google(visit)[-1]
        assert {name for name, said in signals.items() if said == "granted"} == {"security_storage"}
        visit.click("Choose in detail")
        visit.appears(LAYER, "dialog")
        visit.js("document.querySelector('[value=marketing]').click()")
        visit.click("Save my choice")
        command, signals = google(visit)[-1]
    assert command == "update"
    assert {name for name, said in signals.items() if said == "granted"} == {
        "ad_storage",
        "ad_user_data",
        "ad_personalization",
        "security_storage",
    }


def test_a_script_of_the_page_runs_once_its_purpose_is_allowed(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears(BANNER)
        assert visit.js("window.advertised") is None
        visit.click("Reject all")
        assert visit.js("window.advertised") is None
        visit.js("candor.open()")
        visit.appears(LAYER, "dialog")
        visit.click("Accept all")
        visit.until("window.advertised")
