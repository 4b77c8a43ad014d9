"""Nothing is set or sent before the choice, nothing after a no, and after a yes what waited arrives, stamped:
with Segment's and RudderStack's SDKs, unmodified, and with plain fetch."""

from __future__ import annotations

import pytest

from tests.web.popup.browser import BANNER, LAYER, Visit
from tests.web.popup.conftest import Shop

SEND = {
    "segment": "analytics.track('Product Viewed', {{ sku: '{}' }})",
    "rudder": "analytics.track('Product Viewed', {{ sku: '{}' }})",
    "fetch": "send({{ event: 'Product Viewed', properties: {{ sku: '{}' }} }})",
}
every_sdk = pytest.mark.parametrize("sdk", SEND)


def send(visit: Visit, sdk: str, sku: str) -> None:
    """Without waiting: what is held is not done."""
    visit.js(f"void {SEND[sdk].format(sku)}")


def storage(visit: Visit) -> list[str]:
    found: list[str] = visit.js("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
    return sorted(found + [cookie["name"] for cookie in visit.call("cookies")])


@every_sdk
def test_nothing_is_set_or_sent_before_the_choice_and_all_that_waited_after_a_yes(
    shop: Shop, sdk: str
) -> None:
    ends = shop.ends("events.collected")
    with shop.browser.visit(page=sdk) as visit:
        visit.appears(BANNER)
        send(visit, sdk, "held")
        # Once a later request of the page was answered, an earlier one would have been seen.
        visit.js(f"fetch('{shop.consent}/v1/policy').then(() => true)")
        assert visit.asked(shop.ingest) == []
        assert storage(visit) == []
        assert visit.js("document.cookie") == ""
        assert {
            request["method"] for request in visit.asked(shop.consent) if "shown" not in request["url"]
        } == {"GET"}
        assert shop.ends("events.collected") == ends

        visit.click("Accept all")
        kept = visit.acknowledged()
        send(visit, sdk, "after")
        events = shop.permitted(kept["anonymous_id"], 3)
    # SDKs send each event in a request of its own, at once.
    assert {event["properties"]["sku"] for event in events} == {"early", "held", "after"}
    for event in events:
        assert event["context"]["consent"]["categoryPreferences"] == {
            "analytics": True,
            "personalization": True,
            "marketing": True,
        }


@every_sdk
def test_after_a_no_nothing_is_sent_nor_what_waited_if_a_yes_follows(shop: Shop, sdk: str) -> None:
    with shop.browser.visit(page=sdk) as visit:
        visit.appears(BANNER)
        send(visit, sdk, "held")
        visit.click("Reject all")
        kept = visit.acknowledged()
        send(visit, sdk, "refused")
        visit.js(f"fetch('{shop.consent}/v1/policy').then(() => true)")
        assert visit.asked(shop.ingest) == []
        assert storage(visit) == ["candor.choice"]

        visit.js("candor.open()")
        visit.appears(LAYER, "dialog")
        visit.js("document.querySelector('[value=analytics]').click()")
        visit.click("Save my choice")
        visit.acknowledged()
        send(visit, sdk, "accepted")
        [event] = shop.permitted(kept["anonymous_id"], 1)
        assert event["properties"]["sku"] == "accepted"
        assert event["context"]["consent"]["categoryPreferences"] == {
            "analytics": True,
            "personalization": False,
            "marketing": False,
        }


@every_sdk
def test_withdrawing_stops_events_at_once_and_removes_what_the_sdk_kept(shop: Shop, sdk: str) -> None:
    with shop.browser.visit(page=sdk) as visit:
        visit.appears(BANNER)
        visit.click("Accept all")
        kept = visit.acknowledged()
        shop.permitted(kept["anonymous_id"], 1)
        visit.click(LAYER)
        visit.appears(LAYER, "dialog")
        visit.js("document.querySelector('.pm [data-role=necessary]').click()")
        send(visit, sdk, "withdrawn")
        visit.acknowledged()
        sent = len(visit.asked(shop.ingest))
        assert [name for name in storage(visit) if name.startswith(("ajs_", "rl_"))] == []
        visit.call("reload")
        visit.ready()
        send(visit, sdk, "reloaded")
        visit.js(f"fetch('{shop.consent}/v1/policy').then(() => true)")
        assert len(visit.asked(shop.ingest)) == sent
        assert [name for name in storage(visit) if name.startswith(("ajs_", "rl_"))] == []
        assert shop.decided(kept["anonymous_id"]) == {
            "analytics": False,
            "personalization": False,
            "marketing": False,
        }


@every_sdk
def test_under_opt_out_events_pass_until_they_are_refused(shop: Shop, sdk: str) -> None:
    with shop.browser.visit(page=sdk, attributes='data-jurisdiction="US-CA"') as visit:
        visit.appears(BANNER)
        visit.until("candor.anonymousId()")
        anonymous_id = visit.js("candor.anonymousId()")
        [event] = shop.permitted(anonymous_id, 1)
        assert event["properties"]["sku"] == "early"
        visit.click("Reject all")
        visit.acknowledged()
        sent = len(visit.asked(shop.ingest))
        send(visit, sdk, "refused")
        visit.js(f"fetch('{shop.consent}/v1/policy').then(() => true)")
        assert len(visit.asked(shop.ingest)) == sent
