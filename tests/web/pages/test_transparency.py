"""/transparency as the tag's question leads there."""

from __future__ import annotations

from services.kernel.policy import load
from services.kernel.settings import ROOT
from tests.web.site import Site


def test_who_is_asked_in_a_language_reads_on_in_it(site: Site) -> None:
    texts = load(ROOT / "deploy" / "policy.yaml").texts["de"].banner
    with site.browser.visit(attributes='data-language="de" data-jurisdiction="DE"', locale="en-US") as visit:
        visit.appears(texts.title)
        visit.click(texts.more, "link")
        visit.until("location.pathname === '/transparency' && document.documentElement.lang === 'de'")
