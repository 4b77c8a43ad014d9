"""The segment rules of interfaces.md, as far as the workload uses them, compiled to plain functions.

The textbook pipeline judges with it, and the workload foretells with it which transitions must come. It has
nothing in common with the services.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Profile = dict[str, Any]
"""{"traits": {…}, "activity": {event name: {"count": n, "days": {day as text: count}}}}"""

Test = Callable[[Profile], bool]
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: bool(left == right),
    "gte": lambda left, right: left is not None and bool(left >= right),
    "in": lambda left, right: left in right,
    "exists": lambda left, _: left is not None,
}


def compile_rule(rule: dict[str, Any], today: int) -> Test:
    """The rule as a function of a profile. `today` is the whole UTC day that windows end with."""
    if "all" in rule:
        every = [compile_rule(part, today) for part in rule["all"]]
        return lambda profile: all(test(profile) for test in every)
    if "any" in rule:
        some = [compile_rule(part, today) for part in rule["any"]]
        return lambda profile: any(test(profile) for test in some)
    if "not" in rule:
        inner = compile_rule(rule["not"], today)
        return lambda profile: not inner(profile)
    if "trait" in rule:
        return _trait(rule)
    return _event(rule, today)


def _trait(rule: dict[str, Any]) -> Test:
    path, compare, wanted = rule["trait"].split("."), OPERATORS[rule["op"]], rule.get("value")

    def test(profile: Profile) -> bool:
        found: Any = profile["traits"]
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        return compare(found, wanted)

    return test


def _event(rule: dict[str, Any], today: int) -> Test:
    name, compare, wanted = rule["event"], OPERATORS[rule["count"]["op"]], rule["count"]["value"]
    if "within" in rule:
        first = today - int(rule["within"]["days"]) + 1

        def count(seen: dict[str, Any]) -> int:
            return sum(number for day, number in seen["days"].items() if int(day) >= first)

    else:

        def count(seen: dict[str, Any]) -> int:
            return int(seen["count"])

    def test(profile: Profile) -> bool:
        seen = profile["activity"].get(name)
        return compare(count(seen) if seen else 0, wanted)

    return test
