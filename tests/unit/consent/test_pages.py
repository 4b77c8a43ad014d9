"""The pages' texts, languages and headers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.page import period, preferred
from services.consent.pages import ASSETS, FOLDER, HTML_HEADERS, TEXTS

ENGLISH = TEXTS["en"]
TEMPLATES = "".join(path.read_text() for path in FOLDER.glob("*.html"))
SCRIPTS = "".join(path.read_text() for name, path in ASSETS.items() if name.endswith(".js"))


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize("language", ["de", "es", "fr"])
@pytest.mark.parametrize("part", ["page", "script"])
def test_every_language_says_everything(language: str, part: str) -> None:
    said = TEXTS[language][part]
    assert said.keys() == ENGLISH[part].keys()
    for name, text in said.items():
        assert text.strip() and placeholders(text) == placeholders(ENGLISH[part][name]), name


def test_every_text_is_used_and_every_text_used_is_there() -> None:
    """Texts of a family (`event_$page`) are looked up by a name that comes from elsewhere."""
    families = (
        "event_",
        "unlisted_",
        "regime_",
        "right_",
        "method_",
        "type_",
        "state_",
        "step_",
        "service_",
        "known_",
    )
    page = set(re.findall(r"\bt\.(\w+)", TEMPLATES)) - {"get"}
    script = set(re.findall(r"""(?:text|say|problem|noteOf)\(\s*"(\w+)\"""", SCRIPTS))
    assert page <= ENGLISH["page"].keys()
    assert script <= ENGLISH["script"].keys()
    for part, source in (
        ("page", TEMPLATES + (FOLDER.parents[1] / "domain" / "page.py").read_text()),
        ("script", SCRIPTS),
    ):
        for name in ENGLISH[part]:
            word = name.removesuffix("_lead")
            assert name.startswith(families) or re.search(rf"\b{re.escape(word)}\b", source), name


def test_no_script_or_style_stands_in_a_page() -> None:
    """The Content-Security-Policy would not let it run."""
    for attributes in re.findall(r"<script([^>]*)>", TEMPLATES):
        assert "src=" in attributes or 'type="application/json"' in attributes
    assert not re.search(r"<style|\sstyle=|\son\w+=", TEMPLATES)
    assert "innerHTML" not in SCRIPTS
    assert "unsafe" not in HTML_HEADERS["Content-Security-Policy"]


KNOWN = ["en", "de", "pt-br"]


@pytest.mark.parametrize(
    ("wanted", "accepted", "found"),
    [
        (None, "", "en"),
        (None, "de", "de"),
        (None, "de-AT,en;q=0.5", "de"),
        (None, "it, de;q=0.3, en;q=0.7", "en"),
        (None, "de;q=0, en;q=0.1", "en"),
        (None, "it", "en"),
        ("de", "en", "de"),
        ("DE-ch", "en", "de"),
        ("it", "de", "de"),
        ("pt-BR", "", "pt-br"),
        ("pt", "", "en"),
        (None, "de;q=much", "en"),
    ],
)
def test_the_language_is_the_best_there_is(wanted: str | None, accepted: str, found: str) -> None:
    assert preferred(wanted, accepted, KNOWN) == found


@given(st.text(), st.text())
def test_whatever_is_asked_for_a_known_language_is_given(wanted: str, accepted: str) -> None:
    assert preferred(wanted, accepted, KNOWN) in KNOWN


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (None, "until you have it erased"),
        (1, "1 day"),
        (30, "30 days"),
        (45, "45 days"),
        (61, "2 months"),
        (180, "6 months"),
        (365, "1 year"),
        (400, "13 months"),
        (1096, "3 years"),
        (1098, "3 years"),
    ],
)
def test_periods_in_words(days: int | None, words: str) -> None:
    assert period(days, ENGLISH["page"]) == words


def test_assets_are_those_of_the_folder_alone() -> None:
    assert {"pages.css", "preferences.js", "icon.svg"} <= ASSETS.keys()
    assert not [name for name in ASSETS if name.endswith((".html", ".json"))]
