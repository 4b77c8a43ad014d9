"""What must come of a plan, worked out from the plan alone: the player's own books. Pure.

Whoever denied everything while their events were on the way (``in_flow``) is the one thing that is not fixed:
what was waiting is dropped, what had been applied stays. For these people the ledger gives bounds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from deploy.demo.calls import ORDERED, Call
from deploy.demo.plan import EVERYTHING, Plan
from deploy.demo.segments import SEGMENTS, Facts
from deploy.demo.shop import Person


@dataclass(frozen=True, slots=True)
class Book:
    """One person: what their golden record must hold. ``exact`` is false for people who left in the flow."""

    person: Person
    counts: Mapping[str, int]
    turnover: Decimal
    traits: Mapping[str, Any]
    denied: tuple[str, ...]
    exact: bool

    @property
    def identifiers(self) -> set[str]:
        return {*self.person.devices, *((self.person.user_id,) if self.person.user_id else ())}


@dataclass(frozen=True, slots=True)
class Ledger:
    """``delivered`` message ids with their number of deliveries. ``tried``: deliveries begun after the person
    had denied everything; ``waiting``: those that may have been under way. ``dropped`` lies between ``tried``
    and their sum. ``members``: names of people by segment."""

    delivered: Mapping[str, int]
    refused: frozenset[str]
    may_be_dropped: frozenset[str]
    cards: int
    tried: int
    waiting: int
    books: Mapping[str, Book]
    members: Mapping[str, frozenset[str]]

    @property
    def deliveries(self) -> int:
        return sum(self.delivered.values())


def of(plan: Plan) -> Ledger:
    """The books of the whole plan."""
    denied = {opt_out.person.name: opt_out.purposes for opt_out in plan.opt_outs}
    in_flow = {opt_out.person.name for opt_out in plan.opt_outs if opt_out.in_flow}
    deliveries = list(plan.deliveries())
    gone = {name for name, purposes in denied.items() if purposes == EVERYTHING}
    applied = _applied(plan, gone)
    books = {
        person.name: _book(
            person, applied[person.name], denied.get(person.name, ()), person.name not in in_flow
        )
        for person in plan.people
    }
    return Ledger(
        delivered=Counter(call.id for call in deliveries),
        refused=frozenset(call.id for call in deliveries if call.person is None),
        may_be_dropped=frozenset(call.id for call in deliveries if call.person in gone),
        cards=sum(call.card is not None for call in deliveries),
        tried=sum(call.person in gone for act in (plan.after, plan.steady, plan.probes) for call in act),
        waiting=sum(call.person in in_flow for call in plan.before),
        books=books,
        members=_members(plan, books, applied),
    )


def _applied(plan: Plan, gone: set[str]) -> Mapping[str, list[Call]]:
    """Each person's calls that must have an effect, every one once."""
    applied: dict[str, dict[str, Call]] = defaultdict(dict)
    for call in plan.before:
        if call.person:
            applied[call.person][call.id] = call
    for act in (plan.after, plan.steady, plan.probes):
        for call in act:
            if call.person and call.person not in gone:
                applied[call.person][call.id] = call
    return defaultdict(list, {name: list(calls.values()) for name, calls in applied.items()})


def _book(person: Person, calls: list[Call], denied: tuple[str, ...], exact: bool) -> Book:
    totals = (
        Decimal(str(call.arguments["properties"]["total"])) for call in calls if call.activity == ORDERED
    )
    return Book(
        person=person,
        counts=Counter(call.activity for call in calls if call.activity),
        turnover=sum(totals, Decimal(0)),
        traits=_traits(calls),
        denied=denied,
        exact=exact,
    )


def _traits(calls: Iterable[Call]) -> dict[str, Any]:
    """Per trait the last value by event time."""
    said = [call for call in calls if call.method == "identify" and call.at]
    traits: dict[str, Any] = {}
    for call in sorted(said, key=lambda call: (call.at, call.id)):
        traits |= call.arguments.get("traits", {})
    return traits


def _members(
    plan: Plan, books: Mapping[str, Book], applied: Mapping[str, list[Call]]
) -> dict[str, frozenset[str]]:
    members: dict[str, set[str]] = {segment.key: set() for segment in SEGMENTS}
    for name, book in books.items():
        times: dict[str, list[datetime]] = defaultdict(list)
        for call in applied[name]:
            if call.activity:
                times[call.activity].append(call.at or plan.now)
        facts = Facts(book.traits, times)
        for segment in SEGMENTS:
            allowed = book.denied != EVERYTHING and segment.purpose not in book.denied
            if allowed and segment.holds(facts, plan.now):
                members[segment.key].add(name)
    return {key: frozenset(names) for key, names in members.items()}
