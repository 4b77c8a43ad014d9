"""What is counted of choices: every answer once, and who took a yes back."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.counting import Asked, Counted, answered, stats_shown, withdrawn
from services.consent.domain.rule import Choice, Decision

KNOWN = ("analytics", "marketing")
HERE = Asked("de", "DE")
ANA, BEN = b"a" * 16, b"b" * 16


def decision(
    position: int,
    purposes: dict[str, Choice],
    method: str = "save",
    who: frozenset[bytes] = frozenset([ANA]),
    expires: int = 1_000,
) -> Decision:
    return Decision(position, who, purposes, method, position, expires)


def test_an_answer_is_counted_whole_and_by_purpose() -> None:
    said = decision(2, {"*": "grant", "marketing": "deny", "gone from the policy": "deny"})
    assert answered(HERE, said, {"marketing"}, KNOWN) == {
        (HERE, "", "save"): 1,
        (HERE, "analytics", "granted"): 1,
        (HERE, "marketing", "denied"): 1,
        (HERE, "marketing", "withdrawn"): 1,
    }


def test_who_denies_what_was_granted_takes_it_back_once() -> None:
    granted = decision(1, {"marketing": "grant"})
    denied = decision(2, {"*": "deny"})
    assert withdrawn(denied, [granted], KNOWN) == {"marketing"}
    assert withdrawn(decision(3, {"*": "deny"}), [granted, denied], KNOWN) == set()
    assert withdrawn(decision(3, {"analytics": "deny"}), [granted], KNOWN) == set()
    assert withdrawn(granted, [], KNOWN) == set()


def test_a_grant_that_has_ended_is_not_taken_back() -> None:
    assert withdrawn(decision(1_000, {"*": "deny"}), [decision(1, {"*": "grant"})], KNOWN) == set()


choices = st.dictionaries(st.sampled_from([*KNOWN, "*"]), st.sampled_from(["grant", "deny"]), min_size=1)


@given(st.lists(choices, max_size=8))
def test_no_more_is_taken_back_than_was_granted(said: list[dict[str, Choice]]) -> None:
    earlier: list[Decision] = []
    counts: Counter[Counted] = Counter()
    for position, purposes in enumerate(said, 1):
        now = decision(position, purposes)
        counts += answered(HERE, now, withdrawn(now, earlier, KNOWN), KNOWN)
        earlier.append(now)
    shown = stats_shown(counts, KNOWN)
    assert sum(shown["answers"].values()) == len(said)
    for purpose in shown["purposes"].values():
        assert purpose["withdrawn"] <= min(purpose["granted"], purpose["denied"])


def test_statistics_add_up_over_languages_and_places() -> None:
    counts = {
        Counted(HERE, "", "shown"): 10,
        Counted(Asked("", "US"), "", "shown"): 5,
        Counted(HERE, "", "accept"): 4,
        Counted(HERE, "marketing", "granted"): 4,
        Counted(Asked("fr", "DE"), "marketing", "granted"): 4,
        Counted(Asked("fr", "DE"), "marketing", "withdrawn"): 2,
    }
    shown = stats_shown(counts, KNOWN)
    assert (shown["shown"], shown["answers"]) == (15, {"accept": 4})
    assert shown["purposes"]["marketing"] == {
        "granted": 8,
        "denied": 0,
        "withdrawn": 2,
        "withdrawal_rate": 0.25,
    }
    assert shown["purposes"]["analytics"]["withdrawal_rate"] is None
    assert {name: part["shown"] for name, part in shown["by_language"].items()} == {
        "other": 5,
        "de": 10,
        "fr": 0,
    }
    assert shown["by_jurisdiction"]["DE"]["purposes"]["marketing"]["withdrawal_rate"] == 0.25
