"""What an event holds that the catalog lacks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.unlisted import (
    HIDDEN,
    MAX_NAME,
    Unlisted,
    make_room,
    still_unlisted,
    unlisted,
)
from services.kernel.policy.model import Catalog, CatalogEvent, Trait
from tests.support.policy import policy
from tests.unit.profile.model import event

FOR = ("analytics",)
POLICY = policy(
    catalog=Catalog(
        events={
            "Seen": CatalogEvent(FOR, {}, fields={"sku": {}}),
            "$identify": CatalogEvent(FOR, {}),
            "$group": CatalogEvent(FOR, {}, fields={"plan": {}}),
        },
        traits={"email": Trait(FOR, {})},
    )
)


def found(**fields: Any) -> set[tuple[str, str, str]]:
    return {item[:3] for item in unlisted(event(1, **fields), POLICY)}


def test_what_stands_in_the_catalog_is_not_found() -> None:
    assert found(name="Seen", properties={"sku": "x"}) == set()
    assert found(type="identify", name=None, traits={"email": "x"}) == set()
    assert found(type="group", name=None, group_id="g", traits={"plan": "x"}) == set()


def test_what_it_lacks_is_found_with_its_event() -> None:
    assert found(name="Seen", properties={"sku": "x", "price": {"net": 1}}) == {("field", "Seen", "price")}
    assert found(type="identify", name=None, traits={"age": 5}) == {("trait", "", "age")}
    assert found(type="group", name=None, group_id="g", traits={"size": 5}) == {("field", "$group", "size")}
    assert found(name="Bought", properties={"sku": "x"}) == {("event", "", "Bought")}
    assert found(type="page", name="Home") == {("event", "", "$page")}


@pytest.mark.parametrize(
    "name", ["ann@example.com", "Order 123456", "<b>", "x" * (MAX_NAME + 1), "line\u2028break", "\x00"]
)
def test_a_name_that_is_none_is_hidden(name: str) -> None:
    """Anybody may send it, and everybody may read the list."""
    assert found(name=name) == {("event", "", HIDDEN)}
    assert found(name="Seen", properties={name: 1}) == {("field", "Seen", HIDDEN)}


@pytest.mark.parametrize(
    "name", ["Größe", "Added to Cart (mobile)", "utm_source", "a.b:c/d", "商品を見た", "देखा"]
)
def test_a_name_in_any_script_is_shown(name: str) -> None:
    assert found(name=name) == {("event", "", name)}


@given(st.binary())
def test_any_payload_can_be_looked_at(payload: bytes) -> None:
    assert isinstance(unlisted(event(1, name="Seen", payload=payload), POLICY), set)


def test_what_was_put_into_the_catalog_since_is_listed_no_more() -> None:
    seen = [
        Unlisted("event", "", "Seen", "web"),
        Unlisted("field", "Seen", "sku", "web"),
        Unlisted("field", "Gone", "sku", "web"),
        Unlisted("trait", "", "email", "web"),
        Unlisted("trait", "", "age", "web"),
    ]
    assert list(still_unlisted(seen, POLICY)) == [seen[4]]


names = st.builds(Unlisted, st.just("event"), st.just(""), st.sampled_from("abcdefgh"), st.sampled_from("xy"))


@given(st.lists(names, unique=True), st.dictionaries(names, st.integers(0, 9)), st.integers(0, 9))
def test_a_source_s_names_are_bounded_and_only_those_that_stood_long_leave(
    found: list[Unlisted], held: dict[Unlisted, int], since: int
) -> None:
    most = 3
    noted, leaving = make_room(found, held, since, most)
    after = {*held, *noted} - {*leaving}
    assert {*noted} <= {*found} and not {*noted} & {*leaving}
    for source in "xy":
        before, now, new = (
            {item for item in items if item.source == source} for items in (held, after, {*found} - {*held})
        )
        left = before - now
        assert len(now) <= max(most, len(before))
        assert all(held[item] < since for item in left)
        assert len(left) <= max(0, len(before | new) - most)
        old = {item for item in before if held[item] < since}
        assert new <= now or len(now) >= most and not old & now
