"""Rule JSON to conditions: every problem of a rule is found at once and names its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.kernel.outcome import CandorError
from services.kernel.predicate.conditions import Condition, every, negation, on_event, on_trait, some
from services.kernel.predicate.values import EXPECTED_WINDOW, OPERATORS, window_length

MAX_DEPTH = 20
MAX_CONDITIONS = 500
COUNT_OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "between")
KINDS = ("all", "any", "not", "trait", "event")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a definition, and where: ``rule.all[1].count.op``."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class InvalidRule(CandorError):
    """All that is wrong with a rule."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def compile_rule(rule: object, place: str = "rule") -> Condition:
    """The condition that a rule's decoded JSON stands for. Raises InvalidRule with every problem at once."""
    problems: list[Problem] = []
    compiler = _Compiler(problems)
    condition = compiler.condition(rule, place, 1)
    if problems or condition is None:
        raise InvalidRule(problems)
    return condition


def check_fields(
    data: Mapping[str, Any],
    place: str,
    required: Sequence[str],
    optional: Sequence[str],
    problems: list[Problem],
) -> None:
    """Note every field of ``data`` that is unknown and every required one that is missing."""
    known = (*required, *optional)
    problems += [
        Problem(join(place, field), f"unknown field; expected {', '.join(known)}")
        for field in data
        if field not in known
    ]
    problems += [Problem(join(place, field), "required") for field in required if field not in data]


def join(place: str, field: str) -> str:
    return f"{place}.{field}" if place else field


class _Compiler:
    """Walks a rule and notes problems as it goes; what it returns counts only when there are none."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._conditions = 0

    def _problem(self, place: str, message: str) -> None:
        self._problems.append(Problem(place, message))

    def condition(self, data: object, place: str, depth: int) -> Condition | None:
        self._conditions += 1
        if depth > MAX_DEPTH:
            self._problem(place, f"nested too deep: at most {MAX_DEPTH}")
            return None
        if self._conditions == MAX_CONDITIONS + 1:
            self._problem(place, f"too many conditions: at most {MAX_CONDITIONS}")
            return None
        if self._conditions > MAX_CONDITIONS:
            return None
        if not isinstance(data, dict):
            self._problem(place, "expected an object")
            return None
        kinds = [kind for kind in KINDS if kind in data]
        if len(kinds) != 1:
            if not kinds:
                check_fields(data, place, (), KINDS, self._problems)
            self._problem(place, f"expected exactly one of {', '.join(KINDS)}")
            return None
        if kinds[0] == "trait":
            return self._trait(data, place)
        if kinds[0] == "event":
            return self._event(data, place)
        check_fields(data, place, kinds, (), self._problems)
        return self._group(kinds[0], data[kinds[0]], join(place, kinds[0]), depth)

    def _group(self, kind: str, data: object, place: str, depth: int) -> Condition | None:
        if kind == "not":
            inner = self.condition(data, place, depth + 1)
            return negation(inner) if inner else None
        if not isinstance(data, list) or not data:
            self._problem(place, "expected a list of at least one condition")
            return None
        children = [self.condition(child, f"{place}[{i}]", depth + 1) for i, child in enumerate(data)]
        sound = [child for child in children if child]
        return every(sound) if kind == "all" else some(sound)

    def _trait(self, data: dict[str, Any], place: str) -> Condition | None:
        name = data.get("op")
        operator = OPERATORS.get(name) if isinstance(name, str) else None
        takes_value = operator is None or operator.expected is not None
        required = ("trait", "op", "value") if takes_value else ("trait", "op")
        check_fields(data, place, required, (), self._problems)
        path = data["trait"]
        if not isinstance(path, str) or not all(path.split(".")):
            self._problem(join(place, "trait"), "expected a trait's name, or names joined with dots")
        if "op" in data and operator is None:
            self._problem(join(place, "op"), f"expected one of {', '.join(OPERATORS)}")
        if operator is None or (takes_value and "value" not in data):
            return None
        if operator.valid is not None and not operator.valid(data["value"]):
            self._problem(join(place, "value"), f"expected {operator.expected}")
            return None
        return None if self._problems else on_trait(data, operator.make(data.get("value")))

    def _event(self, data: dict[str, Any], place: str) -> Condition | None:
        check_fields(data, place, ("event", "count"), ("within",), self._problems)
        if not isinstance(data["event"], str) or not data["event"]:
            self._problem(join(place, "event"), "expected an event's name")
        if "count" in data:
            self._count(data["count"], join(place, "count"))
        if "within" in data and window_length(data["within"]) is None:
            self._problem(join(place, "within"), f"expected {EXPECTED_WINDOW}")
        return None if self._problems else on_event(data)

    def _count(self, data: object, place: str) -> None:
        if not isinstance(data, dict):
            self._problem(place, 'expected an object such as {"op": "gte", "value": 3}')
            return
        check_fields(data, place, ("op", "value"), (), self._problems)
        if "op" in data and data["op"] not in COUNT_OPERATORS:
            self._problem(join(place, "op"), f"expected one of {', '.join(COUNT_OPERATORS)}")
        if "value" not in data:
            return
        value = data["value"]
        if data.get("op") == "between":
            if not (_is_pair(value) and value[0] <= value[1]):
                self._problem(join(place, "value"), "expected two whole numbers, the lower first")
        elif not _is_count(value):
            self._problem(join(place, "value"), "expected a whole number from 0")


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53
