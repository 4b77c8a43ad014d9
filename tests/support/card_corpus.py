"""Events with one made-up card number each: every brand, in every writing, at every place. Seeded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.support.card_numbers import BRANDS, FULL_WIDTH, card_number, grouped

Place = Callable[[str, random.Random], dict[str, Any]]

WRITINGS: dict[str, Callable[[str], str]] = {
    "none": lambda number: number,
    "space": lambda number: grouped(number, " "),
    "dash": lambda number: grouped(number, "-"),
    "dot": lambda number: grouped(number, "."),
    "nbsp": lambda number: grouped(number, "\u00a0"),
    "full-width": lambda number: number.translate(FULL_WIDTH),
    "%20": lambda number: grouped(number, "%20"),
    "slash": lambda number: grouped(number, "/"),
    "line": lambda number: grouped(number, "\n"),
    "&nbsp;": lambda number: grouped(number, "&nbsp;"),
}


class Sample(NamedTuple):
    """A call in JSON, and what in it is a card number."""

    brand: str
    writing: str
    place: str
    number: str
    written: str
    call: bytes


def _sentence(written: str, chance: random.Random) -> str:
    before = chance.choice(
        ["paid with ", "Karte: ", "order 12345 card ", "", "\u2116", "2026-11-23 10:59:12 "]
    )
    after = chance.choice(["", " thanks", ", exp 12/28 cvv 737", ".", " (12 / 2028)", "; 3 items"])
    return before + written + after


def _url(written: str, chance: random.Random) -> str:
    shape = chance.choice(
        [
            "https://shop.example/pay?step=2&number={}&lang=de",
            "https://shop.example/pay/{}/done",
            "/pay?c={}#top",
            "https://shop.example/#/card={}",
            "https://shop.example/search?q=card+{}",
        ]
    )
    return shape.format(written)


def _error(written: str, chance: random.Random) -> dict[str, Any]:
    text = chance.choice(
        [
            "Error: card {} was declined (code 51)",
            'InvalidRequest: "number": "{}" at line 12:34',
            "ValueError: can't parse '{}', attempt 3 of 5",
            "payment_failed[{}]: timeout after 30000 ms",
        ]
    )
    return {"properties": {"error": {"message": text.format(written), "stack": "at pay (app.js:10:2)"}}}


def _nested(written: str, chance: random.Random) -> dict[str, Any]:
    inner = json.dumps({"form": {"pan": _sentence(written, chance), "amount": 12.5}})
    return {"properties": {"body": inner if chance.random() < 0.5 else json.dumps({"data": inner})}}


PLACES: dict[str, Place] = {
    "property": lambda written, chance: {"properties": {"note": _sentence(written, chance)}},
    "trait": lambda written, chance: {"traits": {"address": {"street": _sentence(written, chance)}}},
    "url": lambda written, chance: {"context": {"page": {"url": _url(written, chance)}}},
    "error": _error,
    "array": lambda written, chance: {"properties": {"list": ["x", [1, _sentence(written, chance)]]}},
    "key": lambda written, chance: {"properties": {"cart": {_sentence(written, chance): 1}}},
    "nested": _nested,
    "event": lambda written, chance: {"event": _sentence(written, chance)[:90]},
}


def cards(seed: int, each: int) -> Iterator[Sample]:
    """``each`` samples of every brand, writing and place."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    for brand in BRANDS:
        for writing, write in WRITINGS.items():
            for place, put in PLACES.items():
                for _ in range(each):
                    number = card_number(brand, chance)
                    written = write(number)
                    call = {"type": "track", "event": "Paid", "userId": "u1"} | put(written, chance)
                    raw = json.dumps(call, ensure_ascii=chance.random() < 0.5).encode()
                    yield Sample(brand, writing, place, number, written, raw)
