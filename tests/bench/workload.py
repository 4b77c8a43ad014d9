"""The workload of quality.md: 200,000 people, Zipf 1.1 or uniform, 1 KB events, 20 segments, 5 % opted out.
A fifth of the events has letters beyond ASCII, as shops in Europe send them.

Everything follows from the seed and the day, so every row and its baseline see the same events. Segments are
only ever entered: rules ask for "at least", and a person's traits never change. So which (segment, person)
pairs must come out is known, whatever the events' order and however many one golden record folds together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

import orjson

from tests.bench.rules import Profile, Test, compile_rule
from tests.bench.segments import SEGMENTS

PEOPLE = 200_000
SECONDS_A_DAY = 86_400
OPTED_OUT_EVERY = 20
ANONYMOUS_EVERY = 4
CITIES = ("Berlin", "Hamburg", "Munich", "Paris", "Lyon", "Madrid", "Porto", "Vienna", "Graz", "Rome")
PLANS = ("free", "free", "free", "basic", "basic", "gold")
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
)
BEYOND_ASCII_EVERY = 5
PRODUCTS = ("lamp", "chair", "table", "shelf", "rug", "clock", "mirror", "sofa")

KINDS: tuple[tuple[str, str, int], ...] = (
    ("page", "Product", 40),
    ("track", "Product Viewed", 28),
    ("track", "Products Searched", 14),
    ("track", "Product Added", 10),
    ("track", "Order Completed", 4),
    ("identify", "", 4),
)
"""Type, name and per cent of the events."""


@dataclass(frozen=True, slots=True)
class Call:
    """One tracking call, in the pieces that its wire forms are put together from."""

    index: int
    person: int
    type: str
    name: str
    message_id: str
    microseconds: int
    properties: bytes
    traits: bytes
    context: bytes

    @property
    def activity(self) -> str:
        """What the golden record counts it under; empty for an identify."""
        return "$page" if self.type == "page" else self.name

    def body(self) -> bytes:
        """The JSON object as an SDK puts it into a batch: about 1 KB."""
        user = user_id(self.person)
        stamp = datetime.fromtimestamp(self.microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds")
        head = {"type": self.type, "messageId": self.message_id, "anonymousId": anonymous_id(self.person),
                "timestamp": stamp.replace("+00:00", "Z")}  # fmt: skip
        if user:
            head["userId"] = user
        if self.type == "track":
            head["event"] = self.name
        elif self.type == "page":
            head["name"] = self.name
        return orjson.dumps(head)[:-1] + b"," + self.payload()[1:]

    def payload(self) -> bytes:
        """The members that the envelope carries as JSON."""
        if self.type == "identify":
            return b'{"traits":%b,"context":%b}' % (self.traits, self.context)
        return b'{"properties":%b,"context":%b}' % (self.properties, self.context)


def user_id(person: int) -> str | None:
    """None for the quarter of the people who never log in."""
    return None if person % ANONYMOUS_EVERY == 3 else f"user-{person:06d}"


def anonymous_id(person: int) -> str:
    return f"{person:08x}-5eed-4b1d-8f00-{person * 2_654_435_761 % 2**48:012x}"


def name_of(person: int) -> str:
    """What a person is called in this bench: the user id, or the anonymous id of those who never log in."""
    return user_id(person) or anonymous_id(person)


def is_opted_out(person: int) -> bool:
    return person % OPTED_OUT_EVERY == 7


def traits(person: int) -> dict[str, Any]:
    """What every identify of that person says: always the same."""
    return {
        "email": f"person.{person}@example.org",
        "firstName": f"{'Given' if person % BEYOND_ASCII_EVERY else 'Zoë'}{person % 977}",
        "lastName": f"Family{person % 7919}",
        "plan": PLANS[person % len(PLANS)],
        "age": 18 + person * 7 % 60,
        "address": {
            "city": CITIES[person * 13 % len(CITIES)],
            "country": "DE",
            "postalCode": f"{10_000 + person % 80_000}",
        },
    }


@dataclass(slots=True)
class Workload:
    """An endless, seeded stream of calls, and the entries into segments that they must cause."""

    seed: int = 20
    zipf: float | None = 1.1
    people: int = PEOPLE
    started: float = field(default_factory=time.time)
    entered: dict[tuple[str, int], int] = field(default_factory=dict)
    """(segment key, person) to the index of the call that makes the person enter."""

    def calls(self) -> Iterator[Call]:
        """The calls in order; `entered` grows along."""
        draw = random.Random(self.seed)  # noqa: S311 - a workload, not a secret
        order = list(range(self.people))
        draw.shuffle(order)
        weights = (
            None
            if self.zipf is None
            else list(accumulate((rank + 1) ** -self.zipf for rank in range(self.people)))
        )
        kinds = list(accumulate(share for _, _, share in KINDS))
        contexts = [_context(number) for number in range(64)]
        properties = [[_properties(number, is_order) for number in range(512)] for is_order in (False, True)]
        foretell = _Foretell(int(self.started // SECONDS_A_DAY), self.entered)
        first, index = int((self.started - 3600) * 1_000_000), 0
        while True:
            chosen = draw.choices(range(self.people), cum_weights=weights, k=1000)
            for rank, (kind, name, _) in zip(
                chosen, draw.choices(KINDS, cum_weights=kinds, k=1000), strict=True
            ):
                person = order[rank]
                shown = properties[name == "Order Completed"][draw.getrandbits(9)]
                call = Call(
                    index, person, kind, name, f"{draw.getrandbits(128):032x}", first + index * 5_000,
                    shown, orjson.dumps(traits(person)) if kind == "identify" else b"", contexts[person % 64],
                )  # fmt: skip
                if not is_opted_out(person):
                    foretell(call)
                yield call
                index += 1


class _Foretell:
    """Says who enters what at which call, by the plain evaluation of rules.py."""

    def __init__(self, today: int, entered: dict[tuple[str, int], int]) -> None:
        self.today = str(today)
        self.entered = entered
        self.profiles: dict[int, Profile] = {}
        self.tests: dict[str, list[tuple[str, Test]]] = {}
        for segment in SEGMENTS:
            test = compile_rule(segment["rule"], today)
            for concerned in _concerns(segment["rule"]):
                self.tests.setdefault(concerned, []).append((segment["key"], test))

    def __call__(self, call: Call) -> None:
        profile = self.profiles.setdefault(call.person, {"traits": {}, "activity": {}})
        if call.type == "identify":
            profile["traits"] = traits(call.person)
        else:
            seen = profile["activity"].setdefault(call.activity, {"count": 0, "days": {self.today: 0}})
            seen["count"] += 1
            seen["days"][self.today] += 1
        for key, test in self.tests.get(call.activity, ()):
            if (key, call.person) not in self.entered and test(profile):
                self.entered[key, call.person] = call.index


def _concerns(rule: dict[str, Any]) -> set[str]:
    """Names of the activities after which the rule must be judged again; the empty name for traits."""
    parts = rule.get("all") or rule.get("any") or ([rule["not"]] if "not" in rule else None)
    if parts is None:
        return {rule.get("event", "")}
    return {name for part in parts for name in _concerns(part)}


def _context(number: int) -> bytes:
    """What a browser SDK sends along with every call, about 560 bytes."""
    path = f"/shop/{PRODUCTS[number % 8]}/{number:05d}"
    return orjson.dumps({
        "library": {"name": "analytics.js", "version": "2.11.1"},
        "page": {"path": path, "url": f"https://shop.example.org{path}", "title": f"Shop: {number % 8}",
                 "referrer": "https://search.example.com/", "search": "?utm_source=newsletter"},
        "userAgent": USER_AGENT,
        "locale": ("de-DE", "fr-FR", "en-GB", "es-ES")[number % 4], "timezone": "Europe/Berlin",
        "campaign": {"name": f"spring-{number % 5}", "source": "newsletter", "medium": "email"},
        "screen": {"width": 1920, "height": 1080, "density": 2},
    })  # fmt: skip


def _properties(number: int, is_order: bool) -> bytes:
    price, product = 10 + number % 128 + 0.25 * (number % 4), PRODUCTS[number % 8]
    name = product.capitalize()
    item = {
        "product_id": f"p-{number:05d}",
        "sku": f"{product}-{number % 97}",
        "name": name if number % BEYOND_ASCII_EVERY else f"{name} – Größe {number % 12}",
        "price": price,
        "quantity": 1,
        "variant": "oak",
        "brand": "Nordic House",
        "position": number % 12,
    }
    shared = {
        "category": ("living", "office", "garden")[number % 3],
        "currency": "EUR",
        "list": "spring-favourites",
    }
    if not is_order:
        return orjson.dumps({**item, **shared, "availability": "in stock", "rating": 4.5})
    return orjson.dumps(
        {"order_id": f"order-{number:08d}", "total": price, "coupon": None, "products": [item], **shared}
    )
