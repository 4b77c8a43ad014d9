"""What is chosen is on record, holds after a reload, can be taken back, and is asked again for new texts."""

from __future__ import annotations

import copy

from tests.web.popup.browser import LAYER
from tests.web.popup.conftest import Shop

NOTHING = {"analytics": False, "personalization": False, "marketing": False}
EVERYTHING = dict.fromkeys(NOTHING, True)
BACKDATE = """(days, name) => {
  const kept = JSON.parse(localStorage.getItem("candor.choice"));
  kept[name] = new Date(Date.now() - days * 864e5).toISOString();
  localStorage.setItem("candor.choice", JSON.stringify(kept));
}"""


def test_one_click_refuses_and_it_is_on_record_with_what_was_shown(shop: Shop) -> None:
    with shop.browser.visit(attributes='data-language="fr"') as visit:
        visit.appears("Vos données, votre choix")
        visit.click("Tout refuser")
        visit.vanishes("Vos données, votre choix")
        kept = visit.acknowledged()
        text_hash = visit.js("candor.choice().text_hash")
    assert shop.decided(kept["anonymous_id"]) == NOTHING
    [row] = shop.ledger(kept["anonymous_id"])
    assert (row["id"], row["method"]) == (kept["id"], "reject")
    assert row["purposes"] == dict.fromkeys(NOTHING, "deny")
    record = row["record"]
    assert record["shown"] == list(NOTHING)
    assert (record["language"], record["jurisdiction"], record["regime"]) == ("fr", "DE", "opt_in")
    assert record["text_hash"] == text_hash
    assert record["url"].endswith("/shop") and "client_time" in record


def test_the_choice_holds_after_a_reload_and_is_taken_back_as_easily(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.click("Accept all")
        kept = visit.acknowledged()
        assert shop.decided(kept["anonymous_id"]) == EVERYTHING
        visit.call("reload")
        visit.ready()
        visit.vanishes()
        choice = visit.js("candor.choice()")
        assert (choice["purposes"], choice["answered"], choice["method"]) == (EVERYTHING, True, "accept")
        visit.click(LAYER)
        visit.appears(LAYER, "dialog")
        visit.click("Reject all")
        visit.vanishes(LAYER, "dialog")
        visit.acknowledged()
        assert visit.js("candor.choice().purposes") == NOTHING
    assert shop.decided(kept["anonymous_id"]) == NOTHING
    assert [row["method"] for row in shop.ledger(kept["anonymous_id"])] == ["accept", "reject"]


def test_a_choice_by_purpose(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        heard = "window.heard = []; candor.onChoice((choice) => heard.push(choice.purposes)); 0"
        visit.js(heard)
        visit.appears()
        visit.click("Choose in detail")
        visit.appears(LAYER, "dialog")
        assert visit.js("document.querySelectorAll('.section__toggle:checked').length") == 0
        visit.js("document.querySelector('[value=personalization]').click()")
        visit.click("Save my choice")
        kept = visit.acknowledged()
        chosen = {**NOTHING, "personalization": True}
        assert visit.js("heard.at(-1)") == chosen
        assert visit.js("candor.stamp()") == {"categoryPreferences": chosen}
    assert shop.decided(kept["anonymous_id"]) == chosen
    [row] = shop.ledger(kept["anonymous_id"])
    assert row["method"] == "save"


def test_a_yes_to_a_purpose_that_is_gone_costs_nobody_the_no_beside_it(shop: Shop) -> None:
    before = shop.policy()
    more = copy.deepcopy(before)
    more["version"] += 1
    more["purposes"].append("polls")
    for texts in more["texts"].values():
        texts["purposes"]["polls"] = {"name": "Polls", "description": "To ask you."}
    shop.set_policy(more)
    try:
        with shop.browser.visit() as visit:
            visit.call("forgetCache")
            visit.call("reload")
            visit.appears()
            visit.click("Choose in detail")
            visit.appears(LAYER, "dialog")
            visit.js("document.querySelector('[value=polls]').click()")
            shop.set_policy({**before, "version": more["version"] + 1})
            visit.click("Save my choice")
            kept = visit.acknowledged()
        [row] = shop.ledger(kept["anonymous_id"])
        assert row["purposes"] == dict.fromkeys(NOTHING, "deny")
    finally:
        shop.set_policy({**before, "version": more["version"] + 2})


def test_it_is_asked_again_when_the_texts_change_and_closing_leaves_the_choice_alone(shop: Shop) -> None:
    before = shop.policy()
    changed = copy.deepcopy(before)
    changed["version"] += 1
    changed["texts"]["en"]["banner"]["body"] = "We now ask for something else."
    with shop.browser.visit() as visit:
        visit.appears()
        visit.click("Accept all")
        kept = visit.acknowledged()
        shop.set_policy(changed)
        try:
            visit.call("forgetCache")
            visit.call("reload")
            visit.appears()
            assert visit.js("candor.choice().purposes") == EVERYTHING
            visit.click("Close")
            visit.vanishes()
            assert visit.js("candor.choice().purposes") == EVERYTHING
            assert len(shop.ledger(kept["anonymous_id"])) == 1
            visit.js(f"({BACKDATE})(2, 'dismissed_at')")
            visit.call("reload")
            visit.appears()
            visit.click("Reject all")
            visit.acknowledged()
            visit.call("reload")
            visit.ready()
            visit.vanishes()
        finally:
            shop.set_policy({**before, "version": changed["version"] + 1})


def test_it_is_asked_again_once_a_yes_has_lapsed(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.click("Accept all")
        visit.acknowledged()
        visit.js(f"({BACKDATE})(181, 'decided_at')")
        visit.call("reload")
        visit.appears()
        assert visit.js("candor.choice().purposes") == NOTHING


def test_another_language_alone_is_no_change_of_texts(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.click("Reject all")
        visit.acknowledged()
        visit.call("open", "shop", 'data-language="es"')
        visit.ready()
        visit.vanishes(shop.texts("es")["title"])


def test_closing_is_a_no_until_it_is_asked_again(shop: Shop) -> None:
    with shop.browser.visit(page="fetch") as visit:
        visit.appears()
        visit.click("Close")
        visit.vanishes()
        kept = visit.acknowledged()
        choice = visit.js("candor.choice()")
        assert (choice["purposes"], choice["answered"], choice["method"]) == (NOTHING, False, "dismiss")
        visit.js("void send({ event: 'Product Viewed' })")
        visit.call("reload")
        visit.ready()
        visit.vanishes()
        assert visit.asked(shop.ingest) == []
        visit.js(f"({BACKDATE})(2, 'dismissed_at')")
        visit.call("reload")
        visit.appears()
    assert shop.decided(kept["anonymous_id"]) == NOTHING


def test_closing_the_preference_layer_decides_nothing(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.click("Choose in detail")
        visit.appears(LAYER, "dialog")
        visit.js("document.querySelector('[value=marketing]').click()")
        visit.press("Escape")
        visit.vanishes(LAYER, "dialog")
        visit.appears()
        assert visit.kept() is None


def test_a_decision_taken_offline_is_sent_again_also_from_the_next_page(shop: Shop) -> None:
    with shop.browser.visit(page="fetch") as visit:
        visit.appears()
        visit.call("block", "**/v1/decisions")
        visit.click("Accept all")
        visit.vanishes()
        visit.until("JSON.parse(localStorage.getItem('candor.choice')).pending.length === 1")
        # Until the gate knows of the yes, it would drop them.
        assert visit.asked(shop.ingest) == []
        visit.call("reload")
        visit.ready()
        visit.until("JSON.parse(localStorage.getItem('candor.choice')).pending.length === 1")
        visit.call("unblock", "**/v1/decisions")
        kept = visit.acknowledged()
        [event] = shop.permitted(kept["anonymous_id"], 1)
        assert event["properties"]["sku"] == "early"
    assert [row["id"] for row in shop.ledger(kept["anonymous_id"])] == [kept["id"]]


def test_offline_and_online_again(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.call("offline", True)
        visit.click("Reject all")
        visit.vanishes()
        assert len(visit.kept()["pending"]) == 1
        visit.call("offline", False)
        kept = visit.acknowledged()
    assert shop.decided(kept["anonymous_id"]) == NOTHING


def test_another_tab_takes_the_choice_over(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.js("candor.onChoice((choice) => { window.heard = choice; })")
        visit.call("inAnotherTab", "Accept all")
        visit.until("window.heard?.purposes.marketing")
        visit.vanishes()


def test_the_address_of_the_preferences_proves_who_the_visitor_is(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        assert "visitor" not in visit.js("candor.preferences()")
        visit.click("Reject all")
        kept = visit.acknowledged()
        address = visit.js("candor.preferences()")
        fragment = visit.js(
            "Object.fromEntries(new URLSearchParams(new URL(candor.preferences()).hash.slice(1)))"
        )
        named = visit.js(f"atob('{fragment['visitor'].split('.')[0]}')")
    assert address.startswith(f"{shop.consent}/preferences#")
    assert named == kept["anonymous_id"]
    assert fragment["visitor"].split(".")[1] == kept["secret"] and len(kept["secret"]) == 64
    assert (fragment["language"], fragment["key"]) == ("en", shop.tokens["demo-web"])
