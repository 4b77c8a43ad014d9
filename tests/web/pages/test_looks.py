"""The pages can be used by everybody: axe finds nothing in any state, and a phone shows them whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.pages.test_preferences import TITLE, known_person, own, said
from tests.web.site import Site

LOOKS: list[dict[str, Any]] = [
    {"colorScheme": "light", "viewport": {"width": 1200, "height": 900}},
    {"colorScheme": "dark", "viewport": {"width": 320, "height": 640}},
]


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark-phone"])
def test_preferences(site: Site, look: dict[str, Any]) -> None:
    with site.preferences("#link=wrong", **look) as visit:
        visit.appears("This link does not work (any more)", "heading")
        assert visit.call("audit") == []
    with site.preferences(own(site.visitor(analytics="grant")), **look) as visit:
        visit.appears(TITLE, "heading")
        assert visit.call("audit") == []
    with site.preferences(site.link(user_id=known_person(site)), **look) as visit:
        visit.appears(TITLE, "heading")
        visit.click("Show it here")
        said(visit, "This is all that we know.")
        visit.js("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert visit.call("audit") == []
        assert visit.js("document.documentElement.scrollWidth <= innerWidth")
        visit.click("Erase my data …")
        visit.appears("Erase everything?", "dialog")
        assert visit.call("audit") == []
        assert visit.js("document.activeElement.textContent") == "Cancel"
        visit.press("Escape")
        assert visit.js("document.activeElement.id") == "erase"


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark-phone"])
def test_transparency(site: Site, look: dict[str, Any]) -> None:
    with site.browser.visit(page=f"{site.consent}/transparency", **look) as visit:
        visit.js("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert visit.call("audit") == []
        assert visit.js("document.documentElement.scrollWidth <= innerWidth")
