"""Judging, against a plain reading of what schemas/consent_state and policy.yaml say."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel import codec
from services.kernel.events import ConsentState, Grant
from services.kernel.outcome import BadRecord
from services.kernel.permission import (
    FOREVER,
    Judge,
    Stamp,
    case,
    erased_before,
    moment,
    project,
)
from services.kernel.policy import EVERY, Basis, Policy
from services.kernel.policy.model import Gpc
from tests.support.policy import InForce
from tests.support.policy import policy as policy_of

PURPOSES = ("analytics", "marketing", "personalization")


EVERYTHING = {regime: Basis(PURPOSES, regime != "opt_in") for regime in ("opt_in", "opt_out")}


def policy(denies: tuple[str, ...] = ("marketing",)) -> Policy:
    return policy_of(purposes=PURPOSES, gpc=Gpc(denies))


JUDGES: dict[tuple[str, ...], Judge] = {
    denies: Judge(InForce(policy(denies))) for denies in ((), ("marketing",), (EVERY,))
}
"""Shared by all examples: what one leaves in the cache must not be told to another."""
bases = st.builds(
    Basis, st.lists(st.sampled_from(PURPOSES), unique=True, min_size=1).map(sorted).map(tuple), st.booleans()
)


@st.composite
def states(draw: st.DrawFn) -> ConsentState:
    names = draw(st.lists(st.sampled_from((*PURPOSES, EVERY)), unique=True))
    cut = draw(st.integers(0, len(names)))
    expiries = st.sampled_from([0, 1, 10, 20, 30, FOREVER])
    grants = [Grant(name, draw(expiries)) for name in sorted(names[cut:])]
    return ConsentState(1, sorted(names[:cut]), grants, draw(st.booleans()), 0)


stamps = st.none() | st.builds(
    Stamp,
    allowed=st.none() | st.lists(st.sampled_from((*PURPOSES, "other"))).map(tuple),
    denied=st.lists(st.sampled_from(PURPOSES)).map(tuple),
    gpc=st.booleans(),
)


def answer(state: ConsentState | None, purpose: str, now: int) -> str:
    """What is listed under a purpose's own name goes before ``*``; what is listed nowhere, or as a grant that
    has expired, holds the default."""
    for name in (purpose, EVERY):
        if state and name in state.denied:
            return "denied"
        if state and name in {grant.purpose for grant in state.granted}:
            live = any(grant.purpose == name and grant.expires_at > now for grant in state.granted)
            return "granted" if live else "default"
    return "default"


def allowed(
    held: list[ConsentState | None], stamp: Stamp, now: int, basis: Basis, gpc_denies: tuple[str, ...]
) -> tuple[str, ...]:
    good = {"granted", "default"} if basis.default else {"granted"}
    new_gpc = stamp.gpc and any(state is None or not state.gpc for state in held)
    return tuple(
        purpose
        for purpose in basis.purposes
        if all(answer(state, purpose, now) in good for state in held or [None])
        and (stamp.allowed is None or purpose in stamp.allowed)
        and purpose not in stamp.denied
        and not (new_gpc and {purpose, EVERY} & set(gpc_denies))
    )


def stored(state: ConsentState | None) -> bytes | None:
    return None if state is None else project(codec.encode(state))


@settings(max_examples=600)
@given(
    held=st.lists(st.none() | states(), max_size=3),
    stamp=stamps,
    times=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    basis=bases,
    denies=st.sampled_from(sorted(JUDGES)),
)
def test_any_event_gets_what_all_its_identifiers_allow(
    held: list[ConsentState | None],
    stamp: Stamp | None,
    times: list[int],
    basis: Basis,
    denies: tuple[str, ...],
) -> None:
    for now in times:
        verdict = JUDGES[denies].judge(map(stored, held), stamp.to_header() if stamp else None, now, basis)
        assert verdict.allowed == allowed(held, stamp or Stamp(), now, basis, denies)
        assert sorted(verdict.allowed + verdict.denied) == sorted(basis.purposes)


@given(held=st.lists(st.none() | states(), max_size=3), now=st.integers(0, 40))
def test_a_verdict_holds_until_the_time_it_names(held: list[ConsentState | None], now: int) -> None:
    basis = EVERYTHING["opt_in"]
    verdict = JUDGES[()].judge(map(stored, held), None, now, basis)
    assert verdict.until > now
    for later in range(now, min(verdict.until, 40)):
        assert allowed(held, Stamp(), later, basis, ()) == verdict.allowed


@given(held=st.lists(st.none() | states(), max_size=3), stamp=stamps, now=st.integers(0, 40), basis=bases)
def test_the_case_decides_the_verdict(
    held: list[ConsentState | None], stamp: Stamp | None, now: int, basis: Basis
) -> None:
    judge, header = Judge(InForce(policy())), stamp.to_header() if stamp else None
    known = case(map(stored, held), header, moment(now), basis)
    assert judge.verdict(known)[:4] == judge.judge(map(stored, held), header, now, basis)[:4]


@given(held=st.lists(st.none() | states(), min_size=1, max_size=3), now=st.integers(0, 40), basis=bases)
def test_split_means_that_some_bear_a_denial_that_others_lack(
    held: list[ConsentState | None], now: int, basis: Basis
) -> None:
    """Also of purposes that the event is not for: the link that it shows is what matters."""
    answers = [{answer(state, purpose, now) for state in held} for purpose in PURPOSES]
    expected = any("denied" in given and len(given) > 1 for given in answers)
    assert JUDGES[()].judge(map(stored, held), None, now, basis).split == expected


def test_many_people_with_the_same_answers_are_one_case() -> None:
    """Else verdicts on people who granted, each at a time of their own, could not be cached."""
    grants = [ConsentState(n, [], [Grant(EVERY, 5_000 + n)], False, n) for n in range(100)]
    for time in (1_000, 9_000):
        cases = {case([stored(state)], None, moment(time), EVERYTHING["opt_in"]) for state in grants}
        assert len(cases) == 1


def test_erasures_at_times_of_their_own_are_one_case_too() -> None:
    erased = [stored(ConsentState(n, ["*"], [Grant("marketing", 50 + n)], False, 0, n)) for n in range(100)]
    assert len({case([state], None, moment(10), EVERYTHING["opt_in"]) for state in erased}) == 1
    assert len({case([state], None, moment(200), EVERYTHING["opt_in"]) for state in erased}) == 1


@given(
    st.lists(
        st.none()
        | st.builds(
            lambda held, at: msgspec.structs.replace(held, erased_at=at), states(), st.integers(0, FOREVER)
        )
    ),
    st.integers(0, 40),
)
def test_the_latest_erasure_of_any_identifier_counts_and_changes_no_verdict(
    held: list[ConsentState | None], now: int
) -> None:
    kept = [stored(state) for state in held]
    assert erased_before(kept) == max((state.erased_at for state in held if state), default=0)
    plain = [stored(state and msgspec.structs.replace(state, erased_at=0)) for state in held]
    basis = EVERYTHING["opt_out"]
    assert case(kept, None, moment(now), basis) == case(plain, None, moment(now), basis)


def test_gpc_is_new_until_it_is_on_record_for_every_identifier() -> None:
    judge, gpc, basis = Judge(InForce(policy())), Stamp(gpc=True).to_header(), EVERYTHING["opt_out"]
    on_record = stored(ConsentState(1, [], [Grant("marketing", FOREVER)], True, 0))
    assert judge.judge([on_record], gpc, 1, basis)[:4] == (PURPOSES, (), False, False)
    assert judge.judge([on_record, None], gpc, 1, basis)[:4] == (
        ("analytics", "personalization"),
        ("marketing",),
        False,
        True,
    )


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b'{"gpc":1}', b'{"allowed":"analytics"}', b"\xff"])
def test_a_stamp_that_can_not_be_read_is_a_bad_record(header: bytes) -> None:
    with pytest.raises(BadRecord, match="bad_header: stamp"):
        Judge(InForce(policy())).judge([None], header, 1, EVERYTHING["opt_out"])


def test_a_state_that_can_not_be_read_is_a_bad_record() -> None:
    with pytest.raises(BadRecord):
        project(b"\x00\x00\x00\x00\x63nonsense")


def test_the_basis_of_an_event_is_the_policy_s_and_follows_it() -> None:
    policies = InForce(policy_of("opt_out", purposes=PURPOSES))
    judge = Judge(policies)
    assert judge.basis("web", "Seen", None) == judge.basis("web", "Seen", None) == EVERYTHING["opt_out"]
    policies.current = policy_of("opt_in", purposes=PURPOSES)
    assert judge.basis("web", "Seen", None) == EVERYTHING["opt_in"]


def test_a_policy_that_changed_is_judged_by_at_once() -> None:
    policies = InForce(policy(denies=()))
    judge, gpc, basis = Judge(policies), Stamp(gpc=True).to_header(), EVERYTHING["opt_out"]
    assert judge.judge([None], gpc, 1, basis).allowed == PURPOSES
    policies.current = policy(denies=("marketing",))
    assert judge.judge([None], gpc, 1, basis).allowed == ("analytics", "personalization")
