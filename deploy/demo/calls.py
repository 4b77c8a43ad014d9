"""What the people of the shop do, as calls of the SDK: visits, log-ins, orders, and what goes wrong. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from deploy.demo.shop import Order, Person

WEB = "demo-web"
SERVER = "demo-server"
VIEWED = "Product Viewed"
ORDERED = "Order Completed"
GENRES = ("rock", "jazz", "classical", "soundtracks", "country", "world")
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
CARDS = (
    "4111 1111 1111 1111",
    "5555-5555-5555-4444",
    "2223003122003222",
    "3782 822463 10005",
    "6011.1111.1111.1117",
    "3530 1113 3330 0000",
)
"""Test numbers that the card brands publish; they pass every check and belong to nobody."""
CARD_EVERY = 180
"""One order in so many has a card number in its note."""
REFUSED = 12


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the SDK. ``person`` is who it is about (None: a bad event that is about nobody)."""

    id: str
    person: str | None
    source: str
    method: Literal["identify", "track", "page"]
    arguments: dict[str, Any]
    at: datetime | None
    card: str | None = None

    @property
    def activity(self) -> str | None:
        """What a golden record counts it under."""
        if self.method == "page":
            return "$page"
        return self.arguments["event"] if self.method == "track" else None


class Script:
    """Writes calls, numbering their message ids."""

    def __init__(self, run: str, draw: random.Random) -> None:
        self.run = run
        self.draw = draw
        self._number = 0

    def history(self, person: Person) -> Iterator[Call]:
        """All that a customer did around each order, the orders themselves included."""
        yield from self._first_session(person, person.orders[0].at)
        for order in person.orders[1:]:
            device = person.devices[0]
            yield self.page(person, device, order.at - timedelta(minutes=12), logged_in=True)
            yield self.view(person, device, order.at - timedelta(minutes=10), logged_in=True)
        for order in person.orders:
            yield self.order(person, order)
        for phone in person.devices[1:]:
            start = person.orders[0].at + timedelta(hours=22)
            yield self.page(person, phone, start, logged_in=False)
            yield self.login(person, phone, start + timedelta(minutes=2))
        if person.moved:
            at, traits = person.moved
            yield self._call(person, SERVER, "identify", {"user_id": person.user_id, "traits": traits}, at)

    def visit(self, person: Person, start: datetime, logged_in: bool) -> Iterator[Call]:
        """Two pages and a product."""
        device = self.draw.choice(person.devices)
        yield self.page(person, device, start, logged_in)
        yield self.page(person, device, start + timedelta(minutes=1), logged_in)
        yield self.view(person, device, start + timedelta(minutes=2), logged_in)

    def page(self, person: Person, device: str, at: datetime | None, logged_in: bool) -> Call:
        name = self.draw.choice(("Home", "Catalog"))
        return self._browse(
            person, device, "page", {"name": name, "properties": self._product(name)}, at, logged_in
        )

    def view(self, person: Person, device: str, at: datetime | None, logged_in: bool) -> Call:
        arguments = {"event": VIEWED, "properties": self._product("product")}
        return self._browse(person, device, "track", arguments, at, logged_in)

    def login(self, person: Person, device: str, at: datetime) -> Call:
        return self._browse(person, device, "identify", {}, at, logged_in=True)

    def order(self, person: Person, order: Order) -> Call:
        """One of CDNOW's purchases; now and then with a card number in the customer's note."""
        card = self.draw.choice(CARDS) if self.draw.randrange(CARD_EVERY) == 0 else None
        properties = {
            "order_id": f"o-{self._number}-{self.run}",
            "total": float(order.dollars),
            "currency": "USD",
            "quantity": order.cds,
            "note": f"please use my card {card} again, thank you" if card else "",
        }
        arguments = {"user_id": person.user_id, "event": ORDERED, "properties": properties}
        return self._call(person, SERVER, "track", arguments, order.at, card)

    def refused(self) -> Iterator[Call]:
        """Events that the SDK lets through and ingest must refuse: a track without a name."""
        for n in range(REFUSED):
            arguments = {"anonymous_id": f"broken-{n:02d}-{self.run}", "event": "", "properties": {}}
            yield self._call(None, WEB, "track", arguments, None)

    def _first_session(self, person: Person, bought: datetime) -> Iterator[Call]:
        browser = person.devices[0]
        yield self.page(person, browser, bought - timedelta(minutes=15), logged_in=False)
        yield self.page(person, browser, bought - timedelta(minutes=14), logged_in=False)
        yield self.view(person, browser, bought - timedelta(minutes=12), logged_in=False)
        arguments = {"user_id": person.user_id, "traits": person.traits}
        yield self._call(person, SERVER, "identify", arguments, bought - timedelta(minutes=6))
        yield self.login(person, browser, bought - timedelta(minutes=5))

    def _product(self, place: str) -> dict[str, Any]:
        genre = self.draw.choice(GENRES)
        product = self.draw.randrange(1, 400)
        return {
            "genre": genre,
            "sku": f"cd-{product:03d}",
            "url": f"https://shop.example/{place.lower()}/{genre}",
        }

    def _browse(
        self,
        person: Person,
        device: str,
        method: Literal["identify", "track", "page"],
        arguments: dict[str, Any],
        at: datetime | None,
        logged_in: bool,
    ) -> Call:
        context = {
            "ip": f"203.0.113.{self.draw.randrange(1, 255)}",
            "userAgent": AGENT,
            "locale": "en-AU",
            "page": {
                "url": "https://shop.example/",
                "title": "CD shop",
                "referrer": "https://search.example/",
            },
        }
        who = {"anonymous_id": device} | ({"user_id": person.user_id} if logged_in else {})
        return self._call(person, WEB, method, who | arguments | {"context": context}, at)

    def _call(
        self,
        person: Person | None,
        source: str,
        method: Literal["identify", "track", "page"],
        arguments: dict[str, Any],
        at: datetime | None,
        card: str | None = None,
    ) -> Call:
        self._number += 1
        name = person.name if person else None
        return Call(f"{self.run}-{self._number:05d}", name, source, method, arguments, at, card)
