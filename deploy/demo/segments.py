"""The demo's segments: the rule as the API takes it, and beside it, in plain Python, who must be a member."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deploy.demo.calls import ORDERED, VIEWED


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a person: traits, and the times of each kind of event."""

    traits: Mapping[str, Any]
    times: Mapping[str, list[datetime]]

    def count(self, event: str, since: datetime | None = None) -> int:
        return sum(since is None or at > since for at in self.times.get(event, ()))


@dataclass(frozen=True, slots=True)
class Segment:
    """``holds(facts, now)`` says who meets the rule; a member must allow the purpose as well."""

    key: str
    name: str
    purpose: str
    rule: dict[str, Any]
    holds: Callable[[Facts, datetime], bool]

    @property
    def definition(self) -> dict[str, Any]:
        return {"key": self.key, "name": self.name, "purpose": self.purpose, "rule": self.rule}


def _event(name: str, number: int, days: int | None = None) -> dict[str, Any]:
    condition: dict[str, Any] = {"event": name, "count": {"op": "gte", "value": number}}
    return condition | ({"within": {"days": days}} if days else {})


WEEK = timedelta(days=7)
MONTH = timedelta(days=30)

SEGMENTS = (
    Segment(
        "frequent-buyers",
        "Bought five times or more",
        "personalization",
        _event(ORDERED, 5),
        lambda facts, now: facts.count(ORDERED) >= 5,
    ),
    Segment(
        "bought-in-30-days",
        "Bought in the last 30 days",
        "marketing",
        _event(ORDERED, 1, 30),
        lambda facts, now: facts.count(ORDERED, now - MONTH) >= 1,
    ),
    Segment(
        "browsed-not-bought",
        "Looked at a product this week and bought nothing",
        "marketing",
        {"all": [_event(VIEWED, 1, 7), {"not": _event(ORDERED, 1, 7)}]},
        lambda facts, now: facts.count(VIEWED, now - WEEK) >= 1 and not facts.count(ORDERED, now - WEEK),
    ),
    Segment(
        "seniors",
        "Born before 1961",
        "marketing",
        {"trait": "birthday", "op": "before", "value": "1961-01-01"},
        lambda facts, now: "birthday" in facts.traits and facts.traits["birthday"] < "1961-01-01",
    ),
    Segment(
        "regulars-in-nsw",
        "Lives in New South Wales and bought twice or more",
        "personalization",
        {"all": [{"trait": "address.state", "op": "eq", "value": "NSW"}, _event(ORDERED, 2)]},
        lambda facts, now: (
            facts.traits.get("address", {}).get("state") == "NSW" and facts.count(ORDERED) >= 2
        ),
    ),
)
PROBED = "browsed-not-bought"
"""The segment that the plan's probes enter."""
