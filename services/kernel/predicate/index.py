"""Many conditions over one record: only those are judged that can hold.

Rules that need an event or a value of a trait cost nothing for records without it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from services.kernel.predicate.conditions import Condition, Facts, Happened, Judge, Test, finder

T = TypeVar("T")


class Entry(NamedTuple, Generic[T]):
    """A condition, and what it is the condition of."""

    item: T
    test: Test | None
    judge: Judge


class Index(Generic[T]):
    """Conditions by their anchors. Those left out by :meth:`candidates` do not hold and are never due."""

    def __init__(self, conditions: Iterable[tuple[T, Condition]]) -> None:
        self._always: list[Entry[T]] = []
        by_event: dict[str, list[tuple[int, Entry[T]]]] = {}
        by_value: dict[str, dict[Any, list[Entry[T]]]] = {}
        for item, condition in conditions:
            entry = Entry(item, condition.test, condition.judge)
            if condition.anchors is None:
                self._always.append(entry)
            for anchor in condition.anchors or ():
                if isinstance(anchor, Happened):
                    by_event.setdefault(anchor.event, []).append((anchor.number, entry))
                else:
                    by_value.setdefault(anchor.path, {}).setdefault(anchor.value, []).append(entry)
        self._by_value = [(finder(path), entries) for path, entries in by_value.items()]
        self._by_event: dict[str, tuple[list[int], list[Entry[T]]]] = {}
        for event, pairs in by_event.items():
            pairs.sort(key=lambda pair: pair[0])
            self._by_event[event] = [number for number, _ in pairs], [entry for _, entry in pairs]

    def candidates(self, facts: Facts) -> list[Entry[T]]:
        """Every condition that may hold; one may stand there twice."""
        found = self._always.copy()
        for find, by_value in self._by_value:
            value = find(facts.traits)
            if isinstance(value, str | int | float) and (entries := by_value.get(value)):
                found += entries
        for event, seen in facts.activity.items():
            if hit := self._by_event.get(event):
                numbers, entries = hit
                found += entries[: bisect_right(numbers, seen.count)]
        return found
