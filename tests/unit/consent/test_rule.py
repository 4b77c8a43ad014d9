"""The consent rule against a model that is written as the sentences of the promise, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.rule import (
    DEFAULT,
    DENIED,
    ERASURE,
    EVERY,
    GPC,
    Choice,
    Decision,
    Pair,
    Verdict,
    answer,
    effective,
    on_gpc_record,
)
from services.kernel.events import ConsentState, Grant

T = TypeVar("T")
NOW = 100
NAMES = [bytes([n]) * 16 for n in range(6)]
ANA, BEN, CAT, DAN, EVE, FAY = NAMES
PURPOSES = ["analytics", "marketing", EVERY]
CHOICES: list[Choice] = ["grant", "deny"]

choices = st.dictionaries(st.sampled_from(PURPOSES), st.sampled_from(CHOICES), min_size=1)
links = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=6)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Decision]:
    rows = draw(
        st.lists(
            st.tuples(
                st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=3), choices, st.integers(90, 110)
            ),
            max_size=8,
        )
    )
    return [
        Decision(position, names, purposes, "api", position, expires)
        for position, (names, purposes, expires) in enumerate(rows)
    ]


def decision(position: int, names: Iterable[bytes], expires: int = 200, **purposes: Choice) -> Decision:
    named: dict[str, Choice] = {EVERY if key == "every" else key: value for key, value in purposes.items()}
    return Decision(position, frozenset(names), named, "api", position, expires)


def reading(state: ConsentState, purpose: str) -> Verdict:
    return answer(state, purpose, NOW)


def model(
    x: bytes, purpose: str, ledger: Sequence[Decision], pairs: Sequence[Pair], cuts: Sequence[Pair]
) -> Verdict:
    linked = {x}
    for _ in NAMES:
        for pair in pairs:
            cut = any(set(pair) == set(other) for other in cuts)
            if not cut and linked & set(pair):
                linked |= set(pair)
    for denial in ledger:
        if denial.says(purpose) == "deny" and denial.identifiers & linked:
            answers = [
                later
                for later in ledger[denial.position + 1 :]
                if later.says(purpose) == "grant"
                and x in later.identifiers
                and later.identifiers & denial.identifiers
            ]
            if not answers:
                return DENIED
    grants = [d.expires_at for d in ledger if d.says(purpose) == "grant" and x in d.identifiers]
    return grants[-1] if grants and grants[-1] > NOW else DEFAULT


@given(ledgers(), links, links)
def test_the_rule_says_what_the_model_says(
    ledger: list[Decision], pairs: list[Pair], cuts: list[Pair]
) -> None:
    states = effective(NAMES, ledger, pairs, cuts, NOW)
    for name in NAMES:
        for purpose in ["analytics", "marketing", "added later"]:
            assert reading(states[name], purpose) == model(name, purpose, ledger, pairs, cuts)


@given(ledgers(), links, st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)))
def test_a_link_only_restricts_and_its_cut_restores(
    ledger: list[Decision], pairs: list[Pair], new: Pair
) -> None:
    before = effective(NAMES, ledger, pairs, [], NOW)
    after = effective(NAMES, ledger, [*pairs, new], [], NOW)
    for name in NAMES:
        for purpose in PURPOSES:
            was, is_now = reading(before[name], purpose), reading(after[name], purpose)
            assert is_now in (was, DENIED)
    if new not in pairs and new[::-1] not in pairs:
        assert effective(NAMES, ledger, [*pairs, new], [new[::-1]], NOW) == before


@given(ledgers(), links, st.sampled_from(NAMES), choices)
def test_a_grant_changes_only_those_it_names(
    ledger: list[Decision], pairs: list[Pair], name: bytes, purposes: dict[str, Choice]
) -> None:
    grants: dict[str, Choice] = dict.fromkeys(purposes, "grant")
    later = Decision(len(ledger), frozenset([name]), grants, "api", len(ledger), 200)
    before = effective(NAMES, ledger, pairs, [], NOW)
    after = effective(NAMES, [*ledger, later], pairs, [], NOW)
    for other in NAMES:
        if other != name:
            for purpose in PURPOSES:
                assert reading(before[other], purpose) == reading(after[other], purpose)


@given(ledgers(), links, st.permutations(NAMES))
def test_order_and_company_of_the_question_do_not_matter(
    ledger: list[Decision], pairs: list[Pair], names: list[bytes]
) -> None:
    together = effective(NAMES, ledger, pairs, [], NOW)
    for name in names:
        assert effective([name], ledger[::-1], pairs[::-1], [], NOW)[name] == together[name]


@given(ledgers(), links, links, st.randoms(use_true_random=False))
def test_what_comes_in_another_order_or_again_says_the_same(
    ledger: list[Decision], pairs: list[Pair], cuts: list[Pair], chance: Random
) -> None:
    def told(said: Sequence[T]) -> list[T]:
        """All of it in some order, some of it twice; then the same again from the beginning."""
        copies = [*said, *chance.sample(said, len(said) // 2)]
        chance.shuffle(copies)
        return [*copies, *copies]

    once = effective(NAMES, ledger, pairs, cuts, NOW)
    assert effective(NAMES, told(ledger), told(pairs), told(cuts), NOW) == once


@given(ledgers(), links)
def test_a_state_lists_each_purpose_once_and_sorted(ledger: list[Decision], pairs: list[Pair]) -> None:
    for state in effective(NAMES, ledger, pairs, [], NOW).values():
        granted = [grant.purpose for grant in state.granted]
        assert state.denied == sorted(state.denied) and granted == sorted(granted)
        assert len({*state.denied, *granted}) == len(state.denied) + len(granted)


def test_nothing_decided_says_nothing() -> None:
    assert effective([ANA], [], [], [], NOW) == {ANA: ConsentState(0, [], [], False, 0)}


def test_a_denial_reaches_through_a_chain_of_links() -> None:
    states = effective(NAMES, [decision(1, [ANA], marketing="deny")], [(ANA, BEN), (CAT, BEN)], [], NOW)
    assert [name for name in NAMES if states[name].denied == ["marketing"]] == [ANA, BEN, CAT]


def test_a_grant_answers_only_a_denial_with_which_it_shares_an_identifier() -> None:
    denial = decision(1, [ANA], marketing="deny")
    pairs = [(ANA, BEN)]
    alone = effective(NAMES, [denial, decision(2, [BEN], marketing="grant")], pairs, [], NOW)
    assert alone[BEN].denied == ["marketing"]
    both = effective(NAMES, [denial, decision(2, [ANA, BEN], marketing="grant")], pairs, [], NOW)
    assert both[BEN].granted == [Grant("marketing", 200)] == both[ANA].granted


def test_a_purpose_named_beside_every_goes_its_own_way() -> None:
    only_analytics = decision(1, [ANA], every="deny", analytics="grant")
    assert effective([ANA], [only_analytics], [], [], NOW)[ANA] == ConsentState(
        0, ["*"], [Grant("analytics", 200)], False, 1
    )


def test_an_expired_grant_falls_to_the_default_not_to_the_denial_it_answered() -> None:
    ledger = [decision(1, [ANA], marketing="deny"), decision(2, [ANA], expires=NOW, marketing="grant")]
    assert effective([ANA], ledger, [], [], NOW - 1)[ANA].granted == [Grant("marketing", NOW)]
    lapsed = effective([ANA], ledger, [], [], NOW)[ANA]
    assert (lapsed.denied, lapsed.granted) == ([], [])


def test_an_expired_grant_is_not_taken_for_a_denial_of_every_purpose_beside_it() -> None:
    ledger = [decision(1, [ANA], every="deny"), decision(2, [ANA], expires=NOW, marketing="grant")]
    state = effective([ANA], ledger, [], [], NOW)[ANA]
    assert reading(state, "marketing") == DEFAULT and reading(state, "analytics") == DENIED


def test_a_link_brings_the_denial_of_the_rest_without_the_grant_beside_it() -> None:
    only_analytics = decision(1, [ANA], every="deny", analytics="grant")
    state = effective([BEN], [only_analytics], [(ANA, BEN)], [], NOW)[BEN]
    assert reading(state, "marketing") == DENIED and reading(state, "analytics") == DEFAULT


def test_gpc_is_on_record_only_for_those_it_named() -> None:
    signal = Decision(1, frozenset([ANA]), {"marketing": "deny"}, GPC, 1, 0)
    states = effective([ANA, BEN], [signal], [(ANA, BEN)], [], NOW)
    assert (states[ANA].gpc, states[BEN].gpc) == (True, False)
    assert states[BEN].denied == ["marketing"]
    assert on_gpc_record([signal, decision(2, [DAN, EVE, FAY], marketing="deny")]) == {ANA}


@given(ledgers(), links, st.frozensets(st.sampled_from(NAMES), min_size=1))
def test_an_erasure_cuts_those_it_names_for_good(
    ledger: list[Decision], pairs: list[Pair], names: frozenset[bytes]
) -> None:
    """Whatever is linked, and whatever is decided later; as a denial it follows the links as any other."""
    cut = Decision(0, names, {EVERY: "deny"}, ERASURE, 50, 0)
    later = [replace(d, position=d.position + 1) for d in ledger]
    plain = replace(cut, method="api")
    found = effective(NAMES, [cut, *later], pairs, (), NOW)
    expected = effective(NAMES, [plain, *later], pairs, (), NOW)
    for name in NAMES:
        assert found[name].erased_at == (50 if name in names else 0)
        assert msgspec.structs.replace(found[name], erased_at=0) == expected[name]
