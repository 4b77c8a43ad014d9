"""Operators on single JSON values, for predicate.py: what they take, and the comparison they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from services.kernel.clock import DAY, HOUR, SECOND

Match: TypeAlias = Callable[[Any], bool]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = 36_525 * DAY
EXPECTED_WINDOW = '{"days": n} or {"hours": n}, n a whole number, from one hour to 100 years'
_MILLISECONDS_FROM = 100_000_000_000
"""Numbers from here on are milliseconds since the epoch, those below are seconds (until the year 5138)."""
_LATEST = 253_402_300_800 * SECOND
"""Begin of the year 10000."""


@dataclass(frozen=True, slots=True)
class Window:
    """A condition on a trait's age: less than ``length`` microseconds, or with ``older`` at least that."""

    length: int
    older: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """``expected`` says in words what ``valid`` asks of the value; both None where there is no value.

    ``make`` gives the comparison with a valid value; it never raises, whatever it is called with.
    """

    make: Callable[[Any], Match | Window]
    valid: Callable[[Any], bool] | None = None
    expected: str | None = None


def point_in_time(value: object) -> int | None:
    """Microseconds since the epoch of an ISO 8601 text (UTC where it names no zone) or a Unix time in
    seconds or milliseconds; None for anything else and beyond the years 1 to 9999."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return (moment - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    scaled = value * 1000 if abs(value) >= _MILLISECONDS_FROM else value * SECOND
    return int(scaled) if abs(scaled) < _LATEST else None


def window_length(value: object) -> int | None:
    """Microseconds of ``{"days": n}`` or ``{"hours": n}``, None for anything else."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    unit, number = next(iter(value.items()))
    size = {"days": DAY, "hours": HOUR}.get(unit)
    if size is None or type(number) is not int or not 0 < number * size <= _LONGEST:
        return None
    return number * size


def is_number(value: object) -> bool:
    return type(value) is int or type(value) is float


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float)


def _is_ordered(value: object) -> bool:
    return is_number(value) or isinstance(value, str)


def _is_range(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(map(_is_ordered, value))
        and is_number(value[0]) == is_number(value[1])
        and value[0] <= value[1]
    )


def _is_scalars(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_scalar, value))


def _equal(value: Any) -> Match:
    if isinstance(value, bool):
        return lambda found: found is value
    return lambda found: found == value and type(found) is not bool


def _one_of(values: Sequence[Any]) -> Match:
    booleans = frozenset(value for value in values if isinstance(value, bool))
    others = frozenset(value for value in values if not isinstance(value, bool))

    def match(found: Any) -> bool:
        if isinstance(found, bool):
            return found in booleans
        return isinstance(found, str | int | float) and found in others

    return match


def _not(make: Callable[[Any], Match]) -> Callable[[Any], Match]:
    def negated(value: Any) -> Match:
        match = make(value)
        return lambda found: not match(found)

    return negated


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Match]:
    """A comparison that holds between two numbers or two texts only; texts compare by code point."""

    def make(value: Any) -> Match:
        if isinstance(value, str):
            return lambda found: isinstance(found, str) and compare(found, value)
        return lambda found: is_number(found) and compare(found, value)

    return make


def _between(value: Sequence[Any]) -> Match:
    low, high = value
    at_least = _ordered(lambda found, bound: found >= bound)(low)
    at_most = _ordered(lambda found, bound: found <= bound)(high)
    return lambda found: at_least(found) and at_most(found)


def _contains(value: Any) -> Match:
    """Part of a text, or an element of a list."""
    equal = _equal(value)

    def match(found: Any) -> bool:
        if isinstance(found, list):
            return any(map(equal, found))
        return isinstance(found, str) and isinstance(value, str) and value in found

    return match


def _starts_with(value: str) -> Match:
    return lambda found: isinstance(found, str) and found.startswith(value)


def _moment(compare: Callable[[int, int], bool]) -> Callable[[Any], Match]:
    def make(value: Any) -> Match:
        bound = point_in_time(value) or 0

        def match(found: Any) -> bool:
            moment = point_in_time(found)
            return moment is not None and compare(moment, bound)

        return match

    return make


def _aged(older: bool) -> Callable[[Any], Window]:
    def make(value: Any) -> Window:
        return Window(window_length(value) or 0, older)

    return make


_SCALAR = (_is_scalar, "a text, a number, true or false")
_SCALARS = (_is_scalars, "a list of at least one text, number, true or false")
_ORDERED = (_is_ordered, "a number or a text")
_MOMENT = (lambda value: point_in_time(value) is not None, "an ISO 8601 time or a Unix time")
_AGE = (lambda value: window_length(value) is not None, EXPECTED_WINDOW)

OPERATORS: dict[str, Operator] = {
    "eq": Operator(_equal, *_SCALAR),
    "ne": Operator(_not(_equal), *_SCALAR),
    "in": Operator(_one_of, *_SCALARS),
    "not_in": Operator(_not(_one_of), *_SCALARS),
    "gt": Operator(_ordered(lambda found, bound: found > bound), *_ORDERED),
    "gte": Operator(_ordered(lambda found, bound: found >= bound), *_ORDERED),
    "lt": Operator(_ordered(lambda found, bound: found < bound), *_ORDERED),
    "lte": Operator(_ordered(lambda found, bound: found <= bound), *_ORDERED),
    "between": Operator(_between, _is_range, "two numbers or two texts, the lower first"),
    "contains": Operator(_contains, *_SCALAR),
    "starts_with": Operator(_starts_with, _is_text, "a text"),
    "exists": Operator(lambda _: lambda found: found is not None),
    "missing": Operator(lambda _: lambda found: found is None),
    "before": Operator(_moment(lambda moment, bound: moment < bound), *_MOMENT),
    "after": Operator(_moment(lambda moment, bound: moment > bound), *_MOMENT),
    "within_last": Operator(_aged(older=False), *_AGE),
    "older_than": Operator(_aged(older=True), *_AGE),
}
