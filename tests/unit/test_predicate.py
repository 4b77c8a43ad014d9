"""Rules: compiled conditions against a naive model, sound due times, and problems that name their place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.clock import DAY, HOUR, SECOND
from services.kernel.events import Activity
from services.kernel.predicate import NEVER, Facts, Index, InvalidRule, compile_rule

NOW = 20_000 * DAY + 5 * HOUR + 123


def activity(*times: int) -> Activity:
    """What profile folds from events at those times."""
    hours = sorted({time // HOUR for time in times})
    days = sorted({time // DAY for time in times})
    return Activity(
        count=len(times),
        first_at=min(times),
        last_at=max(times),
        hours=hours,
        hour_counts=[sum(time // HOUR == hour for time in times) for hour in hours],
        days=days,
        day_counts=[sum(time // DAY == day for time in times) for day in days],
        sums={},
    )


def holds(
    rule: dict[str, Any], traits: dict[str, Any] | None = None, now: int = NOW, **events: Activity
) -> bool:
    return compile_rule(rule).judge(Facts(traits or {}, events), now)[0]


# --- operators ----------------------------------------------------------------------------------------

NESTED = {"address": {"city": "Berlin", "geo": {"lat": 52.5}}, "list": ["a", 1]}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"trait": "address.city", "op": "eq", "value": "Berlin"}, True),
        ({"trait": "address.geo.lat", "op": "gt", "value": 52}, True),
        ({"trait": "address.city.name", "op": "exists"}, False),
        ({"trait": "address.city", "op": "ne", "value": "Berlin"}, False),
        ({"trait": "nowhere", "op": "ne", "value": "Berlin"}, True),
        ({"trait": "nowhere", "op": "not_in", "value": ["Berlin"]}, True),
        ({"trait": "nowhere", "op": "missing"}, True),
        ({"trait": "address", "op": "exists"}, True),
        ({"trait": "list", "op": "contains", "value": "a"}, True),
        ({"trait": "list", "op": "contains", "value": True}, False),
        ({"trait": "address.city", "op": "contains", "value": "erl"}, True),
        ({"trait": "address.city", "op": "starts_with", "value": "erl"}, False),
        ({"trait": "address.city", "op": "between", "value": ["A", "C"]}, True),
        ({"trait": "address.city", "op": "gt", "value": 5}, False),
        ({"trait": "list", "op": "in", "value": ["a"]}, False),
    ],
)
def test_operators_on_traits(condition: dict[str, Any], expected: bool) -> None:
    assert holds(condition, NESTED) is expected


def test_true_is_not_the_number_one() -> None:
    assert not holds({"trait": "x", "op": "eq", "value": 1}, {"x": True})
    assert not holds({"trait": "x", "op": "in", "value": [1, "a"]}, {"x": True})
    assert not holds({"trait": "x", "op": "eq", "value": True}, {"x": 1})
    assert not holds({"trait": "x", "op": "gte", "value": 0}, {"x": True})
    assert holds({"trait": "x", "op": "in", "value": [1.0, True]}, {"x": 1})


@pytest.mark.parametrize(
    "moment",
    ["2024-10-04T05:00:00Z", "2024-10-04T07:00:00+02:00", "2024-10-04T05:00:00", 1728018000, 1728018000000.0],
)
def test_times_are_read_in_every_usual_form(moment: object) -> None:
    traits = {"at": moment}
    assert holds({"trait": "at", "op": "after", "value": "2024-10-04T04:59:59.999999Z"}, traits)
    assert not holds({"trait": "at", "op": "after", "value": "2024-10-04T05:00:00Z"}, traits)
    assert holds({"trait": "at", "op": "before", "value": 1728018001}, traits)
    assert not holds({"trait": "at", "op": "before", "value": "2024-10-04"}, traits)


@pytest.mark.parametrize("nonsense", ["yesterday", "", 1e300, -1e300, True, None, [], "9999-99-99"])
def test_what_is_no_time_is_neither_before_nor_after(nonsense: object) -> None:
    for op in ("before", "after"):
        assert not holds({"trait": "at", "op": op, "value": 0}, {"at": nonsense})
    for op in ("within_last", "older_than"):
        assert not holds({"trait": "at", "op": op, "value": {"days": 1}}, {"at": nonsense})


def test_a_window_of_hours_ends_with_a_whole_hour() -> None:
    rule = {"event": "Order", "count": {"op": "gte", "value": 1}, "within": {"hours": 2}}
    order = activity(NOW)
    leaves = (NOW // HOUR + 2) * HOUR
    assert compile_rule(rule).judge(Facts({}, {"Order": order}), NOW) == (True, leaves)
    assert holds(rule, now=leaves - 1, Order=order)
    assert not holds(rule, now=leaves, Order=order)


def test_a_window_beyond_31_days_ends_with_a_whole_day() -> None:
    rule = {"event": "Order", "count": {"op": "gte", "value": 1}, "within": {"days": 32}}
    order = activity(NOW)
    leaves = (NOW // DAY + 32) * DAY
    assert compile_rule(rule).judge(Facts({}, {"Order": order}), NOW) == (True, leaves)
    assert not holds(rule, now=leaves, Order=order)


# --- against a naive model ----------------------------------------------------------------------------


def naive(rule: dict[str, Any], traits: dict[str, Any], events: dict[str, list[int]], now: int) -> bool:
    """The meaning of a rule over the events themselves, word for word."""
    if "all" in rule:
        return all(naive(part, traits, events, now) for part in rule["all"])
    if "any" in rule:
        return any(naive(part, traits, events, now) for part in rule["any"])
    if "not" in rule:
        return not naive(rule["not"], traits, events, now)
    if "event" in rule:
        times = events.get(rule["event"], [])
        if "within" in rule:
            ((unit, number),) = rule["within"].items()
            length = number * {"days": DAY, "hours": HOUR}[unit]
            slot = HOUR if length <= 31 * DAY else DAY
            times = [time for time in times if time // slot > (now - length) // slot]
        return bool(naive_compare(rule["count"]["op"], len(times), rule["count"]["value"]))
    found: Any = traits
    for step in rule["trait"].split("."):
        found = found.get(step) if isinstance(found, dict) else None
    if rule["op"] in ("exists", "missing"):
        return bool((found is None) == (rule["op"] == "missing"))
    if rule["op"] in ("within_last", "older_than"):
        moment = naive_time(found)
        ((unit, number),) = rule["value"].items()
        if moment is None:
            return False
        end: int = moment + number * {"days": DAY, "hours": HOUR}[unit]
        return moment <= now < end if rule["op"] == "within_last" else now >= end
    if rule["op"] in ("before", "after"):
        moment, bound = naive_time(found), naive_time(rule["value"])
        if moment is None:
            return False
        assert bound is not None
        return moment < bound if rule["op"] == "before" else moment > bound
    return bool(naive_compare(rule["op"], found, rule["value"]))


def naive_time(found: Any) -> int | None:
    if isinstance(found, str):
        try:
            return round(datetime.fromisoformat(found).replace(tzinfo=UTC).timestamp() * 1e6)
        except ValueError:
            return None
    return int(found * SECOND) if kind(found) == "number" else None


def kind(value: Any) -> str:
    return (
        "boolean"
        if isinstance(value, bool)
        else "number"
        if isinstance(value, int | float)
        else type(value).__name__
    )


def naive_compare(op: str, found: Any, value: Any) -> Any:
    def same(left: Any, right: Any) -> bool:
        return kind(left) == kind(right) and bool(left == right)

    def ordered(left: Any, right: Any) -> bool:
        return kind(left) == kind(right) and kind(left) in ("number", "str")

    match op:
        case "eq":
            return same(found, value)
        case "ne":
            return not same(found, value)
        case "in":
            return any(same(found, item) for item in value)
        case "not_in":
            return not any(same(found, item) for item in value)
        case "gt":
            return ordered(found, value) and found > value
        case "gte":
            return ordered(found, value) and found >= value
        case "lt":
            return ordered(found, value) and found < value
        case "lte":
            return ordered(found, value) and found <= value
        case "between":
            return ordered(found, value[0]) and value[0] <= found <= value[1]
        case "contains":
            if isinstance(found, list):
                return any(same(item, value) for item in found)
            return isinstance(found, str) and isinstance(value, str) and value in found
        case "starts_with":
            return isinstance(found, str) and found.startswith(value)
    raise AssertionError(op)


moments = st.integers(-75 * 24, 40).flatmap(
    lambda hours: st.integers(0, HOUR).map(lambda rest: NOW + hours * HOUR + rest)
)
texts = st.sampled_from(["", "a", "ab", "b", "2024-10-04", "2024-10-03T10:00:00"])
scalars = st.one_of(
    texts, st.booleans(), st.integers(-2, 3), st.sampled_from([0.5, 1.0]), moments.map(lambda m: m // SECOND)
)
trait_values = st.one_of(
    scalars, st.none(), st.lists(scalars, max_size=2), st.fixed_dictionaries({"x": scalars})
)
traits_of_people = st.dictionaries(st.sampled_from(["t", "u"]), trait_values)
events_of_people = st.dictionaries(st.sampled_from(["E", "F"]), st.lists(moments, min_size=1, max_size=8))
windows = st.one_of(
    st.integers(1, 70).map(lambda n: {"days": n}), st.integers(1, 70 * 24).map(lambda n: {"hours": n})
)
pairs = st.one_of(
    st.tuples(texts, texts).map(sorted), st.tuples(st.integers(-2, 3), st.integers(-2, 3)).map(sorted)
)
trait_paths = st.sampled_from(["t", "u", "t.x"])


def trait_condition(ops: list[str], value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"trait": trait_paths, "op": st.sampled_from(ops), "value": value})


counts = st.one_of(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), "value": st.integers(0, 6)}
    ),
    st.fixed_dictionaries(
        {"op": st.just("between"), "value": st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted)}
    ),
)
conditions = st.one_of(
    trait_condition(["eq", "ne", "contains"], scalars),
    trait_condition(["in", "not_in"], st.lists(scalars, min_size=1, max_size=3)),
    trait_condition(["gt", "gte", "lt", "lte"], st.one_of(texts, st.integers(-2, 3))),
    trait_condition(["between"], pairs),
    trait_condition(["starts_with"], texts),
    trait_condition(
        ["before", "after"], st.one_of(moments.map(lambda m: m // SECOND), st.just("2024-10-04"))
    ),
    trait_condition(["within_last", "older_than"], windows),
    st.fixed_dictionaries({"trait": trait_paths, "op": st.sampled_from(["exists", "missing"])}),
    st.fixed_dictionaries(
        {"event": st.sampled_from(["E", "F"]), "count": counts}, optional={"within": windows}
    ),
    st.fixed_dictionaries({"event": st.sampled_from(["E", "F"]), "count": counts, "within": windows}),
)
rules = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


@settings(max_examples=250, deadline=None)
@given(rules, traits_of_people, events_of_people)
def test_any_rule_means_what_it_says(rule: Any, traits: Any, events: Any) -> None:
    condition = compile_rule(rule)
    facts = Facts(traits, {name: activity(*times) for name, times in events.items()})
    result, _ = condition.judge(facts, NOW)
    assert result == naive(rule, traits, events, NOW)
    assert condition.explain(facts, NOW)["holds"] == result
    if condition.test:
        assert condition.test(facts) == result


@settings(max_examples=100, deadline=None)
@given(st.lists(rules, min_size=1, max_size=8), traits_of_people, events_of_people)
def test_an_index_leaves_out_only_what_can_not_hold(several: Any, traits: Any, events: Any) -> None:
    facts = Facts(traits, {name: activity(*times) for name, times in events.items()})
    conditions = [compile_rule(rule) for rule in several]
    found = {entry.item for entry in Index(enumerate(conditions)).candidates(facts)}
    for item, condition in enumerate(conditions):
        if item not in found:
            assert condition.judge(facts, NOW) == (False, NEVER)


def test_an_index_leaves_out_most() -> None:
    rules = [
        {"trait": "city", "op": "eq", "value": "Berlin"},
        {"trait": "city", "op": "eq", "value": "Rome"},
        {"all": [{"trait": "city", "op": "in", "value": ["Oslo", "Rome"]}, {"trait": "x", "op": "exists"}]},
        {"event": "Order", "count": {"op": "gte", "value": 2}, "within": {"days": 3}},
        {"event": "Order", "count": {"op": "gte", "value": 3}, "within": {"days": 3}},
        {
            "any": [
                {"event": "Visit", "count": {"op": "gte", "value": 1}},
                {"trait": "x", "op": "eq", "value": 1},
            ]
        },
        {"not": {"trait": "city", "op": "exists"}},
    ]
    index = Index((number, compile_rule(rule)) for number, rule in enumerate(rules))
    found = index.candidates(Facts({"city": "Rome"}, {"Order": activity(NOW, NOW)}))
    assert sorted(entry.item for entry in found) == [1, 2, 3, 6]


@settings(max_examples=250, deadline=None)
@given(rules, traits_of_people, events_of_people, st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_nothing_changes_before_due(rule: Any, traits: Any, events: Any, shares: list[float]) -> None:
    """Judging again at each due time, and never in between, misses no change over half a year."""
    condition = compile_rule(rule)
    facts = Facts(traits, {name: activity(*times) for name, times in events.items()})
    now, end = NOW, NOW + 180 * DAY
    while now < end:
        result, due = condition.judge(facts, now)
        assert due > now
        last = min(due, end) - 1
        for moment in {now, last, *(now + int((last - now) * share) for share in shares)}:
            assert naive(rule, traits, events, moment) == result
        now = due


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("all", ["E", "F"], (True, 2)),  # holds until the first leaves
        ("any", ["E", "F"], (True, 3)),  # holds until the last leaves
        ("all", ["coming in 4", "coming in 5"], (False, 5)),  # can't hold before the last comes
        ("any", ["coming in 4", "coming in 5"], (False, 4)),
        ("all", ["E", "coming in 4"], (False, 4)),
        ("any", ["E", "coming in 4"], (True, 2)),
        ("all", ["E", "never"], (False, None)),
        ("any", ["E", "always"], (True, None)),
    ],
)
def test_due_times_of_groups(kind: str, names: list[str], expected: tuple[bool, int | None]) -> None:
    """In days from a midnight on; E leaves its window after 2, F after 3."""
    now = 20_000 * DAY
    parts: dict[str, Any] = {
        "E": {"event": "E", "count": {"op": "gte", "value": 1}, "within": {"days": 2}},
        "F": {"event": "F", "count": {"op": "gte", "value": 1}, "within": {"days": 3}},
        "coming in 4": {"trait": "at", "op": "older_than", "value": {"days": 4}},
        "coming in 5": {"trait": "at", "op": "older_than", "value": {"days": 5}},
        "never": {"trait": "at", "op": "missing"},
        "always": {"trait": "at", "op": "exists"},
    }
    facts = Facts({"at": now // SECOND}, {"E": activity(now), "F": activity(now)})
    holds, days = expected
    for order in (names, names[::-1]):
        verdict = compile_rule({kind: [parts[name] for name in order]}).judge(facts, now)
        assert verdict == (holds, NEVER if days is None else now + days * DAY)


def test_a_rule_without_time_is_never_due() -> None:
    rule = {
        "any": [{"event": "E", "count": {"op": "lt", "value": 2}}, {"not": {"trait": "t", "op": "exists"}}]
    }
    condition = compile_rule(rule)
    assert condition.judge(Facts({}, {}), NOW) == (True, NEVER)
    assert condition.test is not None


def test_why_shows_the_fact_beside_each_condition() -> None:
    rule = {
        "all": [
            {"trait": "city", "op": "eq", "value": "Berlin"},
            {"event": "Order", "count": {"op": "gte", "value": 2}, "within": {"days": 7}},
        ]
    }
    facts = Facts({"city": "Berlin"}, {"Order": activity(NOW, NOW - 20 * DAY)})
    assert compile_rule(rule).explain(facts, NOW) == {
        "all": [
            {"trait": "city", "op": "eq", "value": "Berlin", "holds": True, "fact": "Berlin"},
            {
                "event": "Order",
                "count": {"op": "gte", "value": 2},
                "within": {"days": 7},
                "holds": False,
                "fact": 1,
            },
        ],
        "holds": False,
    }


# --- problems -----------------------------------------------------------------------------------------


def problems(rule: object) -> list[str]:
    with pytest.raises(InvalidRule) as caught:
        compile_rule(rule)
    return [str(problem) for problem in caught.value.problems]


def test_all_problems_are_reported_at_once_with_their_places() -> None:
    rule = {
        "all": [
            {"trait": "city", "op": "equals", "value": "Berlin"},
            {"event": "Order", "count": {"op": "about", "value": -1}, "within": {"weeks": 2}, "where": []},
            {"segment": "churned"},
            {"any": []},
            {"trait": "a..b", "op": "exists", "value": 1},
            {"not": {"trait": "x", "op": "between", "value": [2, 1]}},
            {"trait": "x", "op": "within_last", "value": 30},
            {"trait": "x", "event": "y"},
            7,
        ]
    }
    found = problems(rule)
    assert [line.split(": ")[0] for line in found] == [
        "rule.all[0].op",
        "rule.all[1].where",
        "rule.all[1].count.op",
        "rule.all[1].count.value",
        "rule.all[1].within",
        "rule.all[2].segment",
        "rule.all[2]",
        "rule.all[3].any",
        "rule.all[4].value",
        "rule.all[4].trait",
        "rule.all[5].not.value",
        "rule.all[6].value",
        "rule.all[7]",
        "rule.all[8]",
    ]
    assert found[2] == "rule.all[1].count.op: expected one of eq, ne, gt, gte, lt, lte, between"


@pytest.mark.parametrize(
    "rule", [None, [], {}, "all", {"all": {}}, {"not": []}, {"event": "E"}, {"trait": "t"}]
)
def test_what_is_no_rule_is_refused(rule: object) -> None:
    assert problems(rule)


def test_nesting_and_size_are_bounded() -> None:
    deep: dict[str, Any] = {"trait": "t", "op": "exists"}
    for _ in range(5000):
        deep = {"not": deep}
    assert problems(deep)[0].endswith("nested too deep: at most 20")
    wide = {"all": [{"trait": "t", "op": "exists"}] * 501}
    assert problems(wide) == ["rule.all[499]: too many conditions: at most 500"]


json = st.recursive(
    st.one_of(st.none(), scalars, st.sampled_from(["eq", "gte", "between"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["all", "any", "not", "trait", "op", "value", "event", "count", "within", "days", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=10,
)


@settings(max_examples=250, deadline=None)
@given(json)
def test_any_json_is_compiled_or_refused_with_places(rule: object) -> None:
    try:
        condition = compile_rule(rule)
    except InvalidRule as error:
        assert all(problem.place.startswith("rule") for problem in error.problems)
    else:
        condition.judge(Facts({"x": 1}, {}), NOW)
