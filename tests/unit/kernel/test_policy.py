"""The policy file: what is refused and on which line, and what a policy says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.policy import InvalidPolicy, Policy, load
from services.kernel.policy.model import Basis, Catalog, CatalogEvent, Source
from services.kernel.policy.reading import parse
from services.kernel.settings import ROOT
from tests.support.policy import OPT_OUT, policy

FILE = ROOT / "deploy" / "policy.yaml"
TEXT = FILE.read_text()
PLACES = st.from_regex(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", fullmatch=True)


def line_of(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start))


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("version: 2", "version: two", "version:", "version: Expected `int`"),
        ("version: 2", "version: 0", "version:", "version: Expected `int` >= 1"),
        ("  DE: opt_in", "  DE: maybe", "  DE:", "jurisdictions.DE: Invalid enum value 'maybe'"),
        ("  FR: opt_in", "  DE: opt_out", "  DE: opt_out", "jurisdictions.DE: stands here twice"),
        ("  FR: opt_in", "  France: opt_in", "  France:", "'France' is no country such as DE"),
        ("denies: [p", "denies: [sales, p", "  denies:", "gpc.denies.0: 'sales' is no purpose"),
        ("purposes: [analytics, ", "purposes: ['*', analytics, ", "purposes:", "'*' can not be"),
        ("      accept: Alle annehmen\n", "", "    banner:", "texts.de.banner: accept is missing"),
        ("      reject: Reject all", "      reject: ''", "      reject: ''", "en.banner.reject: Expected"),
        ("    direction: ltr", "    direction: up", "    direction: up", "texts.en.direction: Invalid enum"),
        ("keep_days: 1098", "keep_days: 0", "      keep_days: 0", "keep_days: Expected `int` >= 1"),
        ("[shop, campaigns]", "[shop, bank]", "      recipients: [shop, bank]", "'bank' is no recipient"),
        ("        es: Su apellido, para dirigirnos a usted.\n", "", "      why:", "last_name.why: es"),
        ("jurisdiction: US}", "jurisdiction: US, purpose: x}", "  demo-web:", "demo-web.purpose: unknown"),
        ("gpc:\n", "surprise: 1\ngpc:\n", "surprise:", "surprise: unknown; known are version"),
        ("controller:\n", "owner:\n", "# What data", "controller is missing"),
        ("catalog:\n", "catalog: [\n", "    $page:", "did not find expected"),
    ],
)  # fmt: skip
def test_a_wrong_policy_names_the_line(old: str, new: str, line: str, what: str) -> None:
    text = TEXT.replace(old, new)
    with pytest.raises(InvalidPolicy) as refused:
        parse(text, "policy.yaml")
    places = [number for number, found in enumerate(text.splitlines(), 1) if found.startswith(line)]
    lines = str(refused.value).splitlines()
    assert any(
        found.startswith(f"policy.yaml:{number}:") and what in found for found in lines for number in places
    ), refused.value


def test_all_that_is_wrong_is_said_at_once() -> None:
    text = TEXT.replace("  DE: opt_in", "  DE: maybe").replace("days: 180", "days: many")
    with pytest.raises(InvalidPolicy) as refused:
        parse(text, "policy.yaml")
    wanted = [line_of(text, "  days:"), line_of(text, "  DE:")]
    assert [int(line.split(":")[1]) for line in str(refused.value).splitlines()] == wanted


@pytest.mark.parametrize("text", ["", "[]", "a", "version: 1", "a: &x [*x]", "? [a]\n: b", "\t", "a: b: c"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidPolicy, match=r"policy\.yaml"):
        parse(text, "policy.yaml")


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy):
        load(tmp_path / "policy.yaml")
    (tmp_path / "policy.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InvalidPolicy):
        load(tmp_path / "policy.yaml")


def test_the_policy_that_comes_along_is_safe_and_complete() -> None:
    ours = load(FILE)
    assert ours.regime(None) == ours.regime("ZZ") == "opt_in"
    union = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
    for country in (*union.split(), "IS", "LI", "NO", "GB", "CH"):
        assert ours.regime(country) == "opt_in", country
    assert set(ours.texts) >= {"en", "de", "fr", "es"}
    assert set(ours.purposes) >= {"analytics", "personalization", "marketing"}
    for texts in ours.texts.values():
        accept, reject = texts.banner.accept, texts.banner.reject
        assert abs(len(accept) - len(reject)) <= 3, "accept and reject carry the same weight"


def test_norway_is_a_country() -> None:
    """YAML 1.1 reads NO as false."""
    assert parse(TEXT.replace('  "NO": opt_in', "  NO: opt_out"), "p").regime("NO") == "opt_out"


# --- places -------------------------------------------------------------------------------------------


@given(
    known=st.dictionaries(st.just("*") | PLACES, st.sampled_from(["opt_in", "opt_out", "notice_only"])),
    place=st.none() | PLACES,
)
def test_any_place_has_the_regime_of_the_most_specific_jurisdiction(
    known: dict[str, Any], place: str | None
) -> None:
    ours = msgspec.structs.replace(policy(), jurisdictions=known)
    wanted = [place, (place or "")[:2] or None, "*"]
    expected = next((known[name] for name in wanted if name in known), "opt_in")
    assert ours.regime(place) == expected
    assert ours.default(place) is (expected != "opt_in")


def test_what_an_event_is_for_is_the_catalog_s_else_the_source_s_else_all() -> None:
    ours = policy(
        "opt_in",
        sources={"web": Source(jurisdiction="US", purposes=("marketing",)), "app": Source()},
        catalog=Catalog(events={"Seen": CatalogEvent(purposes=("analytics",), why={})}),
    )
    every = frozenset(ours.purposes)
    asked = [("web", "Seen"), ("web", "Other"), ("app", "Other"), ("new", None)]
    assert [ours.purposes_of(*one) for one in asked] == [{"analytics"}, {"marketing"}, every, every]


def test_an_event_that_says_no_place_is_where_its_source_s_people_are() -> None:
    ours = msgspec.structs.replace(
        policy(sources={"web": Source(jurisdiction="US")}), jurisdictions={"US": "opt_out", "DE": "opt_in"}
    )
    assert ours.place_of("web", None) == "US" and ours.place_of("web", "DE") == "DE"
    assert ours.place_of("app", None) is None and ours.place_of(None, None) is None
    defaults = [
        ours.basis(*one).default for one in (("web", "x", None), ("web", "x", "DE"), ("app", "x", None))
    ]
    assert defaults == [True, False, False]


@given(
    places=st.lists(st.none() | PLACES, min_size=1), events=st.lists(st.text()), sources=st.lists(st.text())
)
def test_there_are_few_bases_whatever_senders_say(
    places: list[str | None], events: list[str], sources: list[str]
) -> None:
    """Verdicts are cached by them."""
    ours = load(FILE)
    bases: set[Basis] = {
        ours.basis(source, event, place) for place in places for event in events for source in sources
    }
    assert len(bases) <= 2


# --- texts and hashes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at-1996", "de"),
        ("it", "en"),
        ("", "en"),
        (None, "en"),
        ("d", "en"),
    ],
)
def test_the_best_language_is_found(wanted: str | None, found: str) -> None:
    assert load(FILE).language(wanted) == found


def changed(old: str, new: str) -> Policy:
    assert old in TEXT
    return parse(TEXT.replace(old, new), "policy.yaml")


def test_a_text_changes_the_hash_of_its_language_alone() -> None:
    before, after = load(FILE), changed("accept: Alle annehmen", "accept: Alles annehmen")
    assert before.hash != after.hash
    differing = [
        language for language in before.texts if before.text_hash(language) != after.text_hash(language)
    ]
    assert differing == ["de"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("denies: [personalization, marketing]", "denies: [marketing]"), ("days: 180", "days: 90"),
     ("name: The Candor demo shop", "name: Another shop")],
)  # fmt: skip
def test_what_everybody_is_told_changes_the_hash_of_every_language(old: str, new: str) -> None:
    before, after = load(FILE), changed(old, new)
    assert all(before.text_hash(language) != after.text_hash(language) for language in before.texts)


def test_what_is_told_of_the_catalog_and_of_places_changes_the_hash_and_the_version_does_not() -> None:
    before = load(FILE)
    assert changed("version: 2", "version: 3").hash == before.hash
    for old, new in (("  CH: opt_in", "  CH: opt_out"), ("keep_days: 1098", "keep_days: 1099")):
        after = changed(old, new)
        assert after.hash != before.hash
        assert after.text_hash("en") == before.text_hash("en")


def test_profiles_are_judged_by_purposes_and_regimes_alone() -> None:
    before = load(FILE)
    assert changed("accept: Accept all", "accept: Yes to all").judged_by == before.judged_by
    assert changed("  CH: opt_in", "  CH: opt_out").judged_by != before.judged_by


def test_the_policy_of_tests_is_valid() -> None:
    assert load(OPT_OUT).default(None)
