"""Everybody can use it: by keyboard, with a screen reader, in their language and on a phone."""

from __future__ import annotations

import pytest

from tests.web.popup.browser import LAYER, Visit
from tests.web.popup.conftest import Shop

LANGUAGES = ("en", "de", "fr", "es", "ar")
PHONE = {"viewport": {"width": 360, "height": 640}, "isMobile": True, "hasTouch": True}


def focused(visit: Visit) -> str:
    text: str = visit.js(
        "(({ ariaLabel, innerText, value }) => (ariaLabel || innerText || value || '').trim())"
        "(document.activeElement)"
    )
    return text


def box(visit: Visit, selector: str) -> dict[str, float]:
    found: dict[str, float] = visit.js(
        f"document.querySelector('{selector}').getBoundingClientRect().toJSON()"
    )
    return found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("screen", [{}, PHONE], ids=["desktop", "phone"])
def test_both_layers_in_every_language_have_no_flaw_that_axe_knows(
    shop: Shop, language: str, screen: dict[str, object]
) -> None:
    title = shop.texts(language)["title"]
    with shop.browser.visit(attributes=f'data-language="{language}"', gpc=True, **screen) as visit:
        visit.appears(title)
        assert visit.call("audit") == []
        visit.js("candor.open()")
        visit.until("document.documentElement.classList.contains('show--preferences')")
        assert visit.call("audit") == []
        assert visit.js("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("language", LANGUAGES)
def test_refusing_weighs_as_much_as_accepting(shop: Shop, language: str) -> None:
    texts = shop.texts(language)
    look = "(({ color, backgroundColor, font, borderColor }) => [color, backgroundColor, font, borderColor])"
    with shop.browser.visit(attributes=f'data-language="{language}"') as visit:
        visit.appears(texts["title"])
        sizes, looks = [], []
        for role, name in (("necessary", texts["reject"]), ("all", texts["accept"])):
            selector = f".cm [data-role={role}]"
            assert visit.js(f"document.querySelector('{selector}').innerText") == name
            sizes.append((box(visit, selector)["width"], box(visit, selector)["height"]))
            looks.append(visit.js(f"{look}(getComputedStyle(document.querySelector('{selector}')))"))
    assert sizes[0] == sizes[1] and looks[0] == looks[1]


def test_by_keyboard_alone_the_first_layer_lets_the_focus_in_and_out(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        assert visit.js("document.activeElement === document.body")
        region = visit.js("document.querySelector('.cm').getAttributeNames()")
        assert "aria-modal" not in region
        seen = []
        for _ in range(7):
            visit.press("Tab")
            seen.append(focused(visit))
        assert seen == [
            "Close",
            "What we collect, and why",
            "Accept all",
            "Reject all",
            "Choose in detail",
            "New",
            "Jazz",
        ]
        visit.press("Shift+Tab", "Shift+Tab", "Shift+Tab")
        assert focused(visit) == "Reject all"
        outline = visit.js("getComputedStyle(document.activeElement).outline")
        assert "solid" in outline and "3px" in outline
        visit.press("Enter")
        visit.vanishes()
        visit.acknowledged()
        assert visit.js("candor.choice().method") == "reject"


def test_by_keyboard_alone_the_preference_layer_keeps_the_focus_and_gives_it_back(shop: Shop) -> None:
    with shop.browser.visit() as visit:
        visit.appears()
        visit.press(*["Tab"] * 5, "Enter")
        visit.appears(LAYER, "dialog")
        visit.until("document.querySelector('.pm').contains(document.activeElement)")
        assert visit.js("document.querySelector('.pm').getAttribute('aria-modal')") == "true"
        inside = set()
        for _ in range(24):
            visit.press("Tab")
            assert visit.js("document.querySelector('.pm').contains(document.activeElement)")
            inside.add(focused(visit))
        assert {"Close", "Statistics", "analytics", "Accept all", "Reject all", "Save my choice"} <= inside
        visit.press("Escape")
        visit.vanishes(LAYER, "dialog")
        assert focused(visit) == "Choose in detail"
        visit.press("Enter")
        visit.appears(LAYER, "dialog")
        visit.js("document.querySelector('[value=analytics]').focus()")
        visit.press("Space")
        visit.js("document.querySelector('.pm [data-role=save]').focus()")
        visit.press("Enter")
        visit.acknowledged()
        assert visit.js("candor.choice().purposes.analytics") is True
        visit.js("document.querySelector('.candor-open').focus()")
        visit.press("Enter")
        visit.appears(LAYER, "dialog")
        visit.until("document.querySelector('.pm').contains(document.activeElement)")
        visit.press("Escape")
        visit.vanishes(LAYER, "dialog")
        assert focused(visit) == LAYER


def test_on_a_phone_all_of_it_fits_and_the_page_stays_usable(shop: Shop) -> None:
    with shop.browser.visit(**PHONE) as visit:
        visit.appears()
        visit.call("settled")
        layer = box(visit, ".cm")
        assert layer["left"] == 0 and layer["right"] == 360 and layer["bottom"] <= 640 and layer["top"] > 100
        for role in ("all", "necessary", "show"):
            assert box(visit, f".cm [data-role={role}]")["height"] >= 44
        assert visit.js("document.elementFromPoint(180, 20).closest('#candor')") is None
        visit.click("Choose in detail")
        visit.appears(LAYER, "dialog")
        visit.call("settled")
        assert box(visit, ".pm")["top"] >= 0 and box(visit, ".pm [data-role=save]")["bottom"] <= 640


def test_from_right_to_left(shop: Shop) -> None:
    texts = shop.texts("ar")
    with shop.browser.visit(
        attributes='data-language="ar"', viewport={"width": 1000, "height": 800}
    ) as visit:
        visit.appears(texts["title"])
        visit.call("settled")
        assert visit.js("getComputedStyle(document.querySelector('.cm__title')).direction") == "rtl"
        assert box(visit, ".cm")["right"] == 980
        assert box(visit, ".cm__btn--close")["left"] < box(visit, ".cm__title")["left"] + 60
        assert box(visit, ".cm [data-role=all]")["left"] > box(visit, ".cm [data-role=necessary]")["left"]
        visit.js("candor.open()")
        visit.appears(texts["reopen"], "dialog")
        visit.call("settled")
        toggle, heading = box(visit, ".section__toggle-wrapper"), box(visit, "button.pm__section-title")
        assert toggle["right"] < heading["right"]
