"""The whole play, decided beforehand: which call is delivered when, and who opts out in the middle. Pure.

The same ``now``, ``run`` and ``seed`` give the same plan. Acts: ``before`` the opt-outs, ``after`` them, and
``steady``, the last part, played slowly while ``probes`` measure how fresh segments are.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from deploy.demo.calls import ORDERED, Call, Script
from deploy.demo.shop import Person, people

OPT_OUTS = 236
"""Customers who deny every purpose; the last IN_FLOW of them while their own events are on the way."""
IN_FLOW = 36
LESS_MARKETING = 118
"""Customers who deny marketing alone and stay with the rest."""
BROWSERS = 400
PROBES = 300
STEADY = 1500
REPEATED = 0.033
DISPLACED = 0.05
"""Share of calls that arrive up to FAR places earlier or later than they happened."""
FAR = 1500
EVERYTHING = ("*",)
MARKETING = ("marketing",)


@dataclass(frozen=True, slots=True)
class OptOut:
    """A decision to post. ``in_flow``: at once, naming every identifier; else once all is quiet, naming only
    the user_id, so that the devices must follow by their links."""

    person: Person
    purposes: tuple[str, ...]
    in_flow: bool

    @property
    def identifiers(self) -> list[tuple[str, str]]:
        named = [("user_id", self.person.user_id or "")]
        return named + [("anonymous_id", device) for device in self.person.devices] if self.in_flow else named


@dataclass(frozen=True, slots=True)
class Plan:
    """Deliveries in order; a call that stands twice is delivered twice."""

    run: str
    now: datetime
    people: tuple[Person, ...]
    before: tuple[Call, ...]
    opt_outs: tuple[OptOut, ...]
    after: tuple[Call, ...]
    steady: tuple[Call, ...]
    probes: tuple[Call, ...]

    def deliveries(self) -> Iterable[Call]:
        for act in (self.before, self.after, self.steady, self.probes):
            yield from act


def make(now: datetime, run: str, seed: int = 1997) -> Plan:
    """``run`` is short and ends every identifier; ``now`` is aware."""
    draw = random.Random(seed)  # noqa: S311 - a play, not a secret
    script = Script(run, draw)
    everybody = people(now, run, draw)
    customers = [person for person in everybody if person.user_id]
    visitors = [person for person in everybody if not person.user_id]
    week = now - timedelta(days=6, hours=20)
    buyers = {person.name for person in customers if person.orders[-1].at > week}

    first, second = _history(script, customers, week)
    first = _displace(first, draw)
    second = _displace(second, draw)
    opt_outs = _opt_outs(_settled(customers, first, buyers), draw)
    leaving = {opt_out.person.name for opt_out in opt_outs}
    idle = [person for person in customers if person.name not in buyers | leaving]
    draw.shuffle(idle)
    for person in (*idle[:BROWSERS], *(opt_out.person for opt_out in opt_outs)):
        _scatter(second, script.visit(person, _this_week(now, draw), draw.random() < 0.5), draw)
    for visitor in visitors:
        _scatter(second, script.visit(visitor, _visit(now, draw), logged_in=False), draw)
    probes = [
        script.view(person, person.devices[0], None, logged_in=True)
        for person in idle[BROWSERS : BROWSERS + PROBES]
    ]
    first, second = _repeat(first, second, draw)
    _scatter(second, script.refused(), draw)
    return Plan(
        run, now, tuple(everybody), tuple(first), opt_outs, tuple(second[:-STEADY]), tuple(second[-STEADY:]),
        tuple(probes),
    )  # fmt: skip


def _history(script: Script, customers: Sequence[Person], week: datetime) -> tuple[list[Call], list[Call]]:
    """The customers' calls by time, cut in two. This week's orders come in the second half, and the browsing
    that led to them in the first: so these people are seen to look, and later to buy."""
    calls = sorted(
        (call for person in customers for call in script.history(person)), key=lambda call: (call.at, call.id)
    )
    past = [call for call in calls if call.at and call.at <= week]
    recent = [call for call in calls if call.at and call.at > week]
    middle = len(past) * 6 // 10
    first = past[:middle] + [call for call in recent if call.activity != ORDERED]
    second = past[middle:] + [call for call in recent if call.activity == ORDERED]
    return first, second


def _displace(calls: list[Call], draw: random.Random) -> list[Call]:
    places = [n + (draw.uniform(-FAR, FAR) if draw.random() < DISPLACED else 0) for n in range(len(calls))]
    return [calls[n] for n in sorted(range(len(calls)), key=places.__getitem__)]


def _settled(customers: Sequence[Person], first: Sequence[Call], buyers: set[str]) -> list[Person]:
    """Customers all of whose devices are linked in the first half, and who do not buy this week."""
    linked = {call.arguments.get("anonymous_id") for call in first if call.arguments.get("user_id")}
    return [person for person in customers if person.name not in buyers and linked.issuperset(person.devices)]


def _opt_outs(candidates: Sequence[Person], draw: random.Random) -> tuple[OptOut, ...]:
    chosen = draw.sample(candidates, OPT_OUTS + LESS_MARKETING)
    settled, in_flow = chosen[: OPT_OUTS - IN_FLOW], chosen[OPT_OUTS - IN_FLOW : OPT_OUTS]
    return (
        *(OptOut(person, EVERYTHING, in_flow=False) for person in settled),
        *(OptOut(person, EVERYTHING, in_flow=True) for person in in_flow),
        *(OptOut(person, MARKETING, in_flow=False) for person in chosen[OPT_OUTS:]),
    )


def _this_week(now: datetime, draw: random.Random) -> datetime:
    return now - timedelta(hours=draw.uniform(2, 6 * 24))


def _visit(now: datetime, draw: random.Random) -> datetime:
    """Half of the visitors came this week, half of them long ago."""
    return _this_week(now, draw) if draw.random() < 0.5 else now - timedelta(days=draw.uniform(40, 400))


def _scatter(calls: list[Call], more: Iterable[Call], draw: random.Random) -> None:
    """Put ``more`` in at random places, keeping their order."""
    more = list(more)
    places = sorted(draw.randrange(len(calls)) for _ in more)
    for place, call in zip(reversed(places), reversed(more), strict=True):
        calls.insert(place, call)


def _repeat(first: list[Call], second: list[Call], draw: random.Random) -> tuple[list[Call], list[Call]]:
    """Deliver a share of the calls once more, later: a few places on or much later, as retries do."""
    calls = first + second
    border = len(first)
    again = [n for n in range(len(calls) - 1) if draw.random() < REPEATED]
    places: list[tuple[float, Call]] = [(float(n), call) for n, call in enumerate(calls)]
    places += [(n + draw.choice((3.5, draw.uniform(1, len(calls) - n))), calls[n]) for n in again]
    places.sort(key=lambda placed: placed[0])
    cut = sum(place < border for place, _ in places)
    ordered = [call for _, call in places]
    return ordered[:cut], ordered[cut:]
