"""What one event says: links, amounts, traits, and what can not be read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Identifier
from services.kernel.outcome import BadRecord
from services.profile.domain.observation import Observation, observe
from tests.unit.profile.model import HASHER, event


def seen(**fields: Any) -> Observation:
    return observe(event(1, **fields), HASHER)


def linked(**fields: Any) -> set[Identifier]:
    return {link.identifier for link in seen(**fields).links}


def test_the_routing_id_is_the_user_id_else_the_anonymous_id() -> None:
    assert seen(user_id="u", anonymous_id="a").facet == HASHER(USER_ID, "u")
    assert seen(anonymous_id="a").facet == HASHER(ANONYMOUS_ID, "a")
    assert seen(user_id=" u ", anonymous_id="a").identifier == Identifier(USER_ID, "u")
    with pytest.raises(BadRecord, match="no_identifier"):
        seen(user_id=" ")


def test_only_a_user_id_is_linked_to() -> None:
    assert linked(user_id="u", anonymous_id="a") == {Identifier(ANONYMOUS_ID, "a")}
    assert linked(anonymous_id="a") == set()
    assert linked(anonymous_id="a", type="alias", previous_id="b") == set()


def test_the_previous_id_of_an_alias_may_be_of_either_kind() -> None:
    both = {Identifier(USER_ID, "p"), Identifier(ANONYMOUS_ID, "p")}
    assert linked(user_id="u", type="alias", previous_id="p") == both
    assert linked(user_id="u", anonymous_id="p", type="alias", previous_id="p") == both
    assert linked(user_id="u", type="alias", previous_id="u") == set()
    assert linked(user_id="u", type="track", previous_id="p") == set()


@pytest.mark.parametrize(
    "value",
    ["null", "NULL", "undefined", "-1", "000-000", "0", "11111111-1111-1111-1111-111111111111", "anonymous"],
)
def test_a_value_that_stands_for_nobody_links_nobody(value: str) -> None:
    assert linked(user_id="u", anonymous_id=value) == set()
    assert linked(user_id=value, anonymous_id="a") == set()
    assert linked(user_id="u", type="alias", previous_id=value) == set()


def test_ordinary_values_are_not_blocked() -> None:
    for value in ("1", "nullus", "11111111-1111-1111-1111-111111111112", "anonymous7", "a@example.com"):
        assert linked(user_id="u", anonymous_id=value) == {Identifier(ANONYMOUS_ID, value)}


@pytest.mark.parametrize(
    ("json", "amount"),
    [
        (b"0.1", Decimal("0.1")),
        (b'" 19.90 "', Decimal("19.90")),
        (b"3", Decimal(3)),
        (b"-0.0", Decimal(0)),
        (b"1e3", Decimal("1e3")),
        (b"12345678901234567890.5", Decimal("12345678901234567890.5")),
        (b"true", None),
        (b"null", None),
        (b'"NaN"', None),
        (b'"12 EUR"', None),
        (b"1e31", None),
        (b"1e-31", None),
        (b"1e999999999", None),
        (b"[1]", None),
        (b'{"a": 1}', None),
    ],
)
def test_only_sensible_numbers_are_amounts(json: bytes, amount: Decimal | None) -> None:
    told = seen(user_id="u", payload=b'{"properties": {"total": %b, "note": "x"}}' % json).amounts
    assert told == ({} if amount is None else {"total": amount})


def test_what_counts_as_activity() -> None:
    assert seen(user_id="u", name="Ordered").activity == "Ordered"
    assert seen(user_id="u", type="page", name="Home").activity == "$page"
    assert seen(user_id="u", type="screen", name=None).activity == "$screen"
    assert seen(user_id="u", type="group").activity is None


def test_traits_come_from_identify_alone_and_keep_their_text() -> None:
    payload = b'{"traits": {"a": 1.50, "b": null, "c": {"z": [1], "y": "\xc3\xbc"}}}'
    told = seen(user_id="u", type="identify", payload=payload).traits
    assert told == {"a": b"1.50", "b": b"null", "c": b'{"z": [1], "y": "\xc3\xbc"}'}
    assert seen(user_id="u", type="group", payload=payload).traits == {}


@pytest.mark.parametrize(
    "value", [b"1e999", b"-1.8e308", b"1" * 4_301, b"1" * 400 + b".5", b'{"a": [1E400]}', b'"\xff"']
)
def test_a_trait_that_readers_could_not_decode_is_left_out(value: bytes) -> None:
    payload = b'{"traits": {"a": 1, "b": %b, "c": 1e308, "d": %b}}' % (value, b"1" * 400)
    told = seen(user_id="u", type="identify", payload=payload).traits
    assert told == {"a": b"1", "c": b"1e308", "d": b"1" * 400}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": None}, "no_event_name"),
        ({"payload": b"{"}, "bad_payload"),
        ({"payload": b'{"properties": 7}'}, "bad_payload"),
        ({"payload": b'{"properties": {"x": ' + b"[" * 100_000}, "bad_payload"),
        ({"type": "identify", "payload": b'{"traits": []}'}, "bad_payload"),
        ({"type": "identify", "payload": b'{"traits": {"\xff": 1}}'}, "bad_payload"),
    ],
)
def test_what_can_not_be_read_is_a_bad_record(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        seen(user_id="u", **fields)
