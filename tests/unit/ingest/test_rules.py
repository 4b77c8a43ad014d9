"""The rules of deploy/ingest.yaml: mistakes are named with their place, declared ids stay by their format."""

from __future__ import annotations

import json

import msgspec
import pytest

from services.kernel.masking.cleaner import Cleaner
from services.kernel.masking.rules import InvalidRules, Rules


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "Expected `object`"),
        ("version: 2", "$.version"),
        ("version: 1\nsecret: {}", "secret"),
        ("version: 1\nsecrets: {names: password}", "$.secrets.names"),
        ("version: 1\nsecrets: {names: [password, 5]}", "$.secrets.names[1]"),
        ("version: 1\nsecrets: {names: [pw]}", "secrets.names: 'pw'"),
        ("version: 1\nqueries: {parameters: [ä]}", "queries.parameters: 'ä'"),
        ("version: 1\nqueries: {params: []}", "$.queries"),
        ("version: 1\nids: {order_id: '['}", "ids.order_id: no regular expression"),
        ("version: 1\nids: {order_id: '.*'}", "ids.order_id: the format fits texts with card numbers"),
        ("version: [", "line"),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, place: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        Rules.read(text, "ingest.yaml")
    assert str(caught.value).startswith("ingest.yaml: ") and place in str(caught.value)


def test_names_are_the_operators_own() -> None:
    cleaner = Cleaner(
        Rules.read("version: 1\nsecrets: {names: [colour]}\nqueries: {parameters: [size]}", "x")
    )
    raw = b'{"hairColour":"red","password":"x","url":"?size=5&email=6"}'
    assert cleaner.suspicious(raw)
    assert cleaner.clean(raw) == (b'{"password":"x","url":"?size=***&email=6"}', ["secret", "query"])


IDS = Rules.read("version: 1\nids: {order_id: '(ORD-)?\\d{16}', parcel: '9\\d{21}'}", "ingest.yaml")


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        ("order_id", "ORD-4111111111111111", True),
        ("orderId", "ORD-4111111111111111", True),
        ("order_id", "4111111111111111", False),
        ("order_id", 4111111111111111, False),
        ("order_id", "ORD-4111111111111111 cvv 737", False),
        ("note", "ORD-4111111111111111", False),
        ("parcel", "9999994111111111111111", True),
        ("parcel", 9999994111111111111111, True),
    ],
)  # fmt: skip
def test_a_declared_id_stays_by_its_format_not_by_its_name(name: str, value: object, stays: bool) -> None:
    raw = json.dumps({"a": {name: value}}).encode()
    cleaned, kinds = Cleaner(IDS).clean(raw)
    assert (msgspec.json.decode(cleaned) == json.loads(raw)) is stays
    assert (kinds == []) is stays
