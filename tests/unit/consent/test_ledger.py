"""The chain of the ledger: any alteration of any row is found, an erased record is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.ledger import START, Head, Row, Terms, append, broken, decision, read_terms

FIRST = Head(0, START, 0)


def terms(number: int) -> Terms:
    return Terms(f"id {number}", "test", ("00" * 16,), {"marketing": "deny"}, "api", number, 0)


def chain(count: int) -> list[Row]:
    rows, head = [], FIRST
    for number in range(1, count + 1):
        row, head = append(head, terms(number), b'{"url": "https://shop.example"}', bytes(16))
        rows.append(row)
    return rows


def problems(rows: list[Row]) -> list[str]:
    return [found for found in broken(rows) if isinstance(found, str)]


def test_a_sound_chain_is_followed_to_its_end() -> None:
    rows = chain(3)
    *_, end = broken(rows)
    assert end == Head(3, rows[-1].hash, 3)
    assert problems(rows[1:]) == ["position 1: the row is missing"]
    assert problems(rows[:2]) == []


@given(
    st.integers(0, 4),
    st.sampled_from(["position", "terms", "salt", "record", "commitment", "hash"]),
    st.integers(0, 31),
    st.integers(1, 255),
)
def test_any_changed_byte_is_found(index: int, member: str, place: int, change: int) -> None:
    rows = chain(5)
    old = getattr(rows[index], member)
    if member == "position":
        new: Any = old + change
    else:
        place %= len(old)
        new = old[:place] + bytes([old[place] ^ change]) + old[place + 1 :]
    rows[index] = replace(rows[index], **{member: new})
    assert problems(rows)


def test_a_row_rewritten_with_a_hash_that_fits_it_is_found_by_the_next() -> None:
    rows = chain(3)
    forged, _ = append(Head(1, rows[0].hash, 1), terms(9), b"{}", bytes(16))
    assert problems([rows[0], forged, rows[2]]) == ["position 3: altered"]


@given(st.permutations(range(4)))
def test_any_other_order_is_found(order: list[int]) -> None:
    rows = chain(4)
    assert bool(problems([rows[index] for index in order])) == (order != sorted(order))


def test_erased_records_break_nothing_but_half_of_one_does() -> None:
    rows = chain(3)
    assert problems([replace(row, salt=None, record=None) for row in rows]) == []
    assert problems([replace(rows[0], record=None)]) == ["position 1: its record was altered"]


def test_the_rule_reads_what_was_appended() -> None:
    (row,) = chain(1)
    read = decision(row.position, read_terms(row.terms))
    assert (read.position, read.identifiers, read.decided_at) == (1, frozenset([bytes(16)]), 1)
    assert read.says("marketing") == "deny"


def test_the_same_id_is_a_repetition_only_with_the_same_choice() -> None:
    first = terms(1)
    again = Terms("id 1", "test", first.identifiers, {"marketing": "deny"}, "api", 9, 0)
    assert again.same_choice(first, ())
    for other in (
        Terms("id 1", "test", first.identifiers, {"marketing": "grant"}, "api", 1, 0),
        Terms("id 1", "test", first.identifiers, {"marketing": "deny"}, "reject", 1, 0),
        Terms("id 1", "test", ("11" * 16,), {"marketing": "deny"}, "api", 1, 0),
    ):
        assert not other.same_choice(first, ())
