"""Judging: alternation whatever happens, and the reason of each transition."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.events import Cause, GoldenRecord
from services.kernel.identifier import Hasher
from services.kernel.predicate import NEVER
from services.segment.domain.definition import Catalog, Definition, Segment
from services.segment.domain.judging import Known, Occasion, Person, Standing, identifiers_of, judge

CAUSE = Cause("profiles.state", 3, 7)
HAS = {"trait": "x", "op": "exists"}


def segment(key: str = "s", catalog: int = 1, deleted: bool = False, rule: Any = HAS) -> Segment:
    definition = Definition("S", "marketing", msgspec.json.encode(rule).decode())
    return Segment.of(key, catalog, definition, 50, catalog, deleted)


def person(x: object = 1, purposes: tuple[str, ...] = ("marketing",), **more: Any) -> Person:
    traits = msgspec.json.encode({} if x is None else {"x": x})
    return Person.of(GoldenRecord("ab", 2, ["u"], ["a"], list(purposes), traits, {}, 10, 20, 30))


IN, OUT = Standing(True, 5, "rule"), Standing(False, 4, "rule")
NOW_IN, NOW_OUT = person(), person(None)


@pytest.mark.parametrize(
    ("who", "known", "occasion", "expected"),
    [
        (NOW_IN, Known(), Occasion(99, CAUSE), ("rule", 20, CAUSE)),
        (NOW_OUT, Known(1, 1, standings={"s": IN}), Occasion(99, CAUSE), ("rule", 20, CAUSE)),
        (NOW_OUT, Known(1, 1, standings={"s": IN}), Occasion(99), ("time", 99, None)),
        (NOW_IN, Known(1, 0), Occasion(99), ("definition", 50, None)),
        (NOW_IN, Known(1, 0), Occasion(99, CAUSE), ("definition", 50, None)),
        (person(purposes=()), Known(1, 1, standings={"s": IN}), Occasion(99, CAUSE), ("consent", 99, CAUSE)),
        (
            NOW_IN,
            Known(1, 1, standings={"s": Standing(False, 4, "consent")}),
            Occasion(99, CAUSE),
            ("consent", 99, CAUSE),
        ),
        (None, Known(1, 1, standings={"s": IN}), Occasion(99, CAUSE, b"b"), ("merge", 99, CAUSE)),
        (None, Known(1, 1, standings={"s": IN}), Occasion(99, CAUSE), ("erasure", 99, CAUSE)),
        (NOW_IN, Known(1, 1, merged=True, standings={"s": OUT}), Occasion(99, CAUSE), ("unmerge", 99, CAUSE)),
    ],
)
def test_the_reason_of_a_transition(
    who: Person | None, known: Known, occasion: Occasion, expected: Any
) -> None:
    _, (transition,) = judge(Catalog.of([segment()]), "ab", who, known, occasion, 100)
    assert (transition.reason, transition.occurred_at, transition.cause) == expected
    assert transition.evaluated_at == 100


def test_members_of_a_deleted_segment_leave() -> None:
    catalog = Catalog.of([segment(catalog=2, deleted=True)])
    _, (left,) = judge(catalog, "ab", NOW_IN, Known(1, 1, standings={"s": IN}), Occasion(99), 100)
    assert (left.member, left.sequence, left.reason, left.segment_version) == (False, 6, "definition", 2)


def test_the_next_due_time_is_the_earliest_of_all_segments() -> None:
    rules = [{"trait": "x", "op": "within_last", "value": {"hours": hours}} for hours in (3, 2)]
    catalog = Catalog.of([segment("a", rule=rules[0]), segment("b", rule=rules[1]), segment("c")])
    now = 1_000_000_000_000
    judged = judge(catalog, "ab", person(now // 1_000_000), Known(), Occasion(0, CAUSE), now)
    assert judged.due == now + 2 * 3600 * 1_000_000
    assert judge(catalog, "ab", person(now // 1_000_000, ()), Known(), Occasion(0, CAUSE), now).due == NEVER


steps = st.lists(
    st.tuples(
        st.one_of(
            st.none(), st.builds(person, st.sampled_from([None, 1]), st.sampled_from([(), ("marketing",)]))
        ),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@given(steps)
def test_any_history_alternates_without_a_gap_and_ends_where_the_rule_stands(history: Any) -> None:
    standings: dict[str, Standing] = {}
    log = []
    for version, (who, deleted, negated) in enumerate(history, 1):
        rule = {"not": HAS} if negated else HAS
        catalog = Catalog.of([segment(catalog=version, deleted=deleted, rule=rule)])
        known = Known(version - 1, version - 1, standings=dict(standings))
        _, transitions = judge(catalog, "ab", who, known, Occasion(0, CAUSE), 1)
        for item in transitions:
            log.append((item.sequence, item.member))
            standings[item.segment_key] = Standing(item.member, item.sequence, item.reason)
        has = who is not None and b"x" in who.record.traits
        member = who is not None and not deleted and bool(who.record.purposes) and has is not negated
        assert (standings["s"].member if standings else False) == member
    assert log == [(i + 1, i % 2 == 0) for i in range(len(log))]


@pytest.mark.parametrize(
    "traits",
    [b"", b"[]", b"{", b"1", b'{"x": \xff}', b"[" * 100_000, b'{"x": 1e999}', b'{"x": %b}' % (b"1" * 4_301)],
)
def test_who_has_traits_that_can_not_be_read_has_none_but_keeps_the_purposes(traits: bytes) -> None:
    known = Known(1, 1, standings={"s": IN})
    who = Person.of(msgspec.structs.replace(NOW_IN.record, traits=traits))
    assert (who.readable, who.facts.traits) == (False, {})
    catalog = Catalog.of([segment(rule={"not": HAS})])
    assert judge(catalog, "ab", who, known, Occasion(99, CAUSE), 100).transitions == []
    withdrawn = Person.of(msgspec.structs.replace(who.record, purposes=[]))
    _, (left,) = judge(catalog, "ab", withdrawn, known, Occasion(99, CAUSE), 100)
    assert (left.member, left.reason) == (False, "consent")


def test_identifiers_leave_out_the_profile_s_own_hash() -> None:
    hasher = Hasher(bytes(32))
    own, other = hasher("user_id", "u"), hasher("anonymous_id", "a")
    assert identifiers_of(NOW_IN.record, own, hasher) == other
    assert identifiers_of(NOW_IN.record, b"else", hasher) == b"".join(sorted([own, other]))
