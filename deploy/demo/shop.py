"""The shop's people and what they bought: CDNOW's purchases and febrl's people, joined by line number.

Pure apart from reading the fixtures: the same ``now``, ``run`` and random generator give the same shop.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
VISITORS = 500
PHONES = 0.2
"""Share of customers who have a second device."""
MOVES = 0.04
"""Share of customers whose address changes."""
WINDOWS = (timedelta(days=7), timedelta(days=30))
"""Windows of the demo's segments: nothing happens within CLEARANCE of where one begins."""
CLEARANCE = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Order:
    """One purchase, at its moved date."""

    at: datetime
    cds: int
    dollars: Decimal


@dataclass(frozen=True, slots=True)
class Person:
    """A customer, or a visitor without ``user_id`` who never logs in. ``devices`` are anonymous ids."""

    name: str
    user_id: str | None
    devices: tuple[str, ...]
    traits: dict[str, Any]
    moved: tuple[datetime, dict[str, Any]] | None
    orders: tuple[Order, ...]


def people(now: datetime, run: str, draw: random.Random) -> list[Person]:
    """All customers by number, then the visitors. ``run`` ends every identifier, so that runs stay apart."""
    orders = _orders(now, draw)
    facts = _rows("people.csv")
    customers = [_customer(number, facts, orders[number], run, draw) for number in sorted(orders)]
    visitors = [
        Person(f"visitor {n}", None, (f"visitor-{n:03d}-{run}",), {}, None, ())
        for n in range(1, VISITORS + 1)
    ]
    return customers + visitors


def clear_of_windows(at: datetime, now: datetime) -> datetime:
    """The time, or six hours earlier where that lies at the very beginning of a window: so that who must be a
    member does not hang on the minute in which the demo runs."""
    for window in WINDOWS:
        if abs(at - (now - window)) < CLEARANCE:
            return at - 2 * CLEARANCE
    return at


def _orders(now: datetime, draw: random.Random) -> dict[str, tuple[Order, ...]]:
    rows = _rows("purchases.csv")
    last = max(date.fromisoformat(row["date"]) for row in rows)
    shift = now.date() - timedelta(days=1) - last
    orders: dict[str, list[Order]] = defaultdict(list)
    for row in rows:
        opened = time(draw.randrange(8, 22), draw.randrange(60), draw.randrange(60), tzinfo=UTC)
        at = datetime.combine(date.fromisoformat(row["date"]) + shift, opened)
        orders[row["customer"]].append(
            Order(clear_of_windows(at, now), int(row["cds"]), Decimal(row["dollars"]))
        )
    return {
        customer: tuple(sorted(bought, key=lambda order: order.at)) for customer, bought in orders.items()
    }


def _customer(
    number: str, facts: list[dict[str, str]], orders: tuple[Order, ...], run: str, draw: random.Random
) -> Person:
    fact = facts[int(number) - 1]
    devices = [f"browser-{number}-{run}"]
    if draw.random() < PHONES:
        devices.append(f"phone-{number}-{run}")
    traits = {
        "first_name": fact["given_name"].title(),
        "last_name": fact["surname"].title(),
        "email": f"{fact['given_name']}.{fact['surname']}.{number}@example.com".replace(" ", "-"),
        "birthday": fact["date_of_birth"],
        "gender": draw.choice(("female", "male")),
        "address": _address(fact),
    }
    moved = None
    if draw.random() < MOVES:
        elsewhere = _address(facts[draw.randrange(len(facts))])
        moved = (_between(orders, draw), {"address": elsewhere})
    return Person(f"customer {number}", f"{number}-{run}", tuple(devices), traits, moved, orders)


def _address(fact: dict[str, str]) -> dict[str, str]:
    return {
        "street": f"{fact['street_number']} {fact['address_1']}".title(),
        "city": fact["suburb"].title(),
        "postal_code": fact["postcode"],
        "state": fact["state"].upper(),
        "country": "AU",
    }


def _between(orders: tuple[Order, ...], draw: random.Random) -> datetime:
    """Some time after the first purchase and before the last one, or soon after the only one."""
    gaps = [(a.at, b.at) for a, b in pairwise(orders) if b.at - a.at > timedelta(days=2)]
    if not gaps:
        return orders[0].at + timedelta(hours=20)
    start, end = draw.choice(gaps)
    return start + (end - start) * draw.uniform(0.3, 0.7)


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))
