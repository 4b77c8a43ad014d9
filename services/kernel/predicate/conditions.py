"""Conditions as closures, and how their due times compose."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct

from services.kernel.clock import DAY, HOUR
from services.kernel.events import Activity
from services.kernel.predicate.values import Match, Window, point_in_time, window_length

NEVER = (1 << 63) - 1
"""A ``due`` that no clock reaches."""
HOURLY = 31 * DAY
"""Longest window counted in hours."""


class Facts(Struct, frozen=True, gc=False):
    """What rules look at: a golden record with its traits decoded."""

    traits: Mapping[str, Any]
    activity: Mapping[str, Activity]


Test: TypeAlias = Callable[[Facts], bool]
Verdict: TypeAlias = tuple[bool, int]
Judge: TypeAlias = Callable[[Facts, int], Verdict]
Explain: TypeAlias = Callable[[Facts, int], dict[str, Any]]


class Happened(NamedTuple):
    """The event occurred at least so often, ever."""

    event: str
    number: int


class Equals(NamedTuple):
    """The trait has that text, number or truth value."""

    path: str
    value: Any


Anchors: TypeAlias = tuple[Happened | Equals, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled rule. ``test`` stands for ``judge`` where time plays no part, which saves a third.

    ``explain`` gives the rule again, each part with ``holds`` and the ``fact`` it looked at. Where none of
    the ``anchors`` is the case the condition does not hold and is never due; None where there are no such.
    """

    judge: Judge
    test: Test | None
    explain: Explain
    anchors: Anchors | None = None


# --- groups -------------------------------------------------------------------------------------------


def every(children: Sequence[Condition]) -> Condition:
    """Holds when all children hold. Where it does not, it can't before the last of those that fail can."""
    tests = tuple(child.test for child in children if child.test)
    judges = tuple(child.judge for child in children if not child.test)

    def test(facts: Facts) -> bool:
        for holds in tests:  # noqa: SIM110 - a generator in all() costs twice as much
            if not holds(facts):
                return False
        return True

    def judge(facts: Facts, now: int) -> Verdict:
        for holds in tests:
            if not holds(facts):
                return False, NEVER
        until, failing = NEVER, -1
        for child in judges:
            held, due = child(facts, now)
            if held:
                until = min(until, due)
            elif due == NEVER:
                return False, NEVER
            else:
                failing = max(failing, due)
        return (True, until) if failing < 0 else (False, failing)

    # One child's anchors do: equality is the rarest, and the fewer the better.
    anchored = [child.anchors for child in children if child.anchors is not None]
    anchors = min(anchored, key=_commonness, default=None)
    return _grouped("all", children, judge, test, anchors)


def _commonness(anchors: Anchors) -> tuple[int, int]:
    return sum(isinstance(anchor, Happened) for anchor in anchors), len(anchors)


def some(children: Sequence[Condition]) -> Condition:
    """Holds when a child holds. It does then at least as long as the longest of those that hold."""
    tests = tuple(child.test for child in children if child.test)
    judges = tuple(child.judge for child in children if not child.test)

    def test(facts: Facts) -> bool:
        for holds in tests:  # noqa: SIM110 - a generator in any() costs twice as much
            if holds(facts):
                return True
        return False

    def judge(facts: Facts, now: int) -> Verdict:
        for holds in tests:
            if holds(facts):
                return True, NEVER
        until, holding = NEVER, -1
        for child in judges:
            held, due = child(facts, now)
            if not held:
                until = min(until, due)
            elif due == NEVER:
                return True, NEVER
            else:
                holding = max(holding, due)
        return (False, until) if holding < 0 else (True, holding)

    anchors: Anchors | None = ()
    for child in children:
        anchors = None if anchors is None or child.anchors is None else anchors + child.anchors
    return _grouped("any", children, judge, test, anchors)


def _grouped(
    kind: str, children: Sequence[Condition], judge: Judge, test: Test, anchors: Anchors | None
) -> Condition:
    def explain(facts: Facts, now: int) -> dict[str, Any]:
        parts = [child.explain(facts, now) for child in children]
        return {kind: parts, "holds": judge(facts, now)[0]}

    timeless = all(child.test for child in children)
    return Condition(judge, test if timeless else None, explain, anchors)


def negation(inner: Condition) -> Condition:
    inner_judge, inner_test = inner.judge, inner.test

    def judge(facts: Facts, now: int) -> Verdict:
        holds, due = inner_judge(facts, now)
        return not holds, due

    def explain(facts: Facts, now: int) -> dict[str, Any]:
        return {"not": inner.explain(facts, now), "holds": judge(facts, now)[0]}

    return Condition(judge, (lambda facts: not inner_test(facts)) if inner_test else None, explain)


# --- traits -------------------------------------------------------------------------------------------


def on_trait(data: dict[str, Any], match: Match | Window) -> Condition:
    find = finder(data["trait"])
    test: Test | None = None
    if isinstance(match, Window):
        judge = _trait_window(find, match)
    else:
        judge, test = _timeless(_trait_test(data["trait"], match))

    def explain(facts: Facts, now: int) -> dict[str, Any]:
        return {**data, "holds": judge(facts, now)[0], "fact": find(facts.traits)}

    anchors: Anchors | None = None
    if data["op"] in ("eq", "in"):
        values = data["value"] if data["op"] == "in" else [data["value"]]
        anchors = tuple(Equals(data["trait"], value) for value in values)
    return Condition(judge, test, explain, anchors)


def _trait_test(path: str, matches: Match) -> Test:
    if "." not in path:
        return lambda facts: matches(facts.traits.get(path))
    find = finder(path)
    return lambda facts: matches(find(facts.traits))


def _timeless(test: Test) -> tuple[Judge, Test]:
    return lambda facts, now: (test(facts), NEVER), test


def finder(path: str) -> Callable[[Mapping[str, Any]], Any]:
    """The value at a dotted path of the traits, None where there is none."""
    first, *rest = path.split(".")
    if not rest:
        return lambda traits: traits.get(first)

    def find(traits: Mapping[str, Any]) -> Any:
        value = traits.get(first)
        for step in rest:
            if not isinstance(value, dict):
                return None
            value = value.get(step)
        return value

    return find


def _trait_window(find: Callable[[Mapping[str, Any]], Any], window: Window) -> Judge:
    """within_last holds from the trait's moment on for the window's length, older_than from then on."""
    length, older = window.length, window.older

    def judge(facts: Facts, now: int) -> Verdict:
        moment = point_in_time(find(facts.traits))
        if moment is None:
            return False, NEVER
        if now < moment:
            return False, moment + length if older else moment
        if now < moment + length:
            return not older, moment + length
        return older, NEVER

    return judge


# --- events -------------------------------------------------------------------------------------------


def on_event(data: dict[str, Any]) -> Condition:
    name, op, value = data["event"], data["count"]["op"], data["count"]["value"]
    length = window_length(data["within"]) if "within" in data else None

    def at_least(number: int) -> Condition:
        return _at_least(name, number, length)

    low, high = value if op == "between" else (value, value)
    if op in ("gte", "gt"):
        condition = at_least(value if op == "gte" else value + 1)
    elif op in ("lt", "lte"):
        condition = negation(at_least(value if op == "lt" else value + 1))
    else:
        condition = every([at_least(low), negation(at_least(high + 1))])
        condition = negation(condition) if op == "ne" else condition
    judge, total = condition.judge, _total(name, length)

    def explain(facts: Facts, now: int) -> dict[str, Any]:
        return {**data, "holds": judge(facts, now)[0], "fact": total(facts, now)}

    return Condition(judge, condition.test, explain, condition.anchors)


def _at_least(name: str, number: int, length: int | None) -> Condition:
    """The one primitive of counts: the others are made of it, and their due times with them."""

    if number <= 0:
        return Condition(*_timeless(lambda facts: True), _nothing)
    anchors = (Happened(name, number),)
    if length is not None:
        return Condition(_within(name, number, length), None, _nothing, anchors)

    def test(facts: Facts) -> bool:
        seen = facts.activity.get(name)
        return seen is not None and seen.count >= number

    return Condition(*_timeless(test), _nothing, anchors)


def _nothing(facts: Facts, now: int) -> dict[str, Any]:
    """The condition on the event explains itself."""
    return {}


def _within(name: str, number: int, span: int) -> Judge:
    hourly = span <= HOURLY
    unit = HOUR if hourly else DAY

    def judge(facts: Facts, now: int) -> Verdict:
        seen = facts.activity.get(name)
        if seen is None or seen.count < number:
            return False, NEVER
        slots, counts = (seen.hours, seen.hour_counts) if hourly else (seen.days, seen.day_counts)
        left = (now - span) // unit
        total = 0
        for i in range(len(slots) - 1, -1, -1):
            slot = slots[i]
            if slot <= left:
                break
            total += counts[i]
            if total >= number:  # holds until this slot leaves the window
                return True, slot * unit + span
        return False, NEVER

    return judge


def _total(name: str, length: int | None) -> Callable[[Facts, int], int]:
    def total(facts: Facts, now: int) -> int:
        seen = facts.activity.get(name)
        if seen is None:
            return 0
        if length is None:
            return seen.count
        hourly = length <= HOURLY
        slots, counts = (seen.hours, seen.hour_counts) if hourly else (seen.days, seen.day_counts)
        return sum(counts[bisect_right(slots, (now - length) // (HOUR if hourly else DAY)) :])

    return total
