from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.identifier import HASH_SIZE, Hasher, Identifier, join, normalise, split


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_the_same_name_in_two_unicode_forms_is_one_identifier() -> None:
    assert normalise(" Zoe\u0308 ") == normalise("Zo\u00eb")


@given(st.lists(st.binary(min_size=HASH_SIZE, max_size=HASH_SIZE)))
def test_a_header_gives_back_its_hashes(hashes: list[bytes]) -> None:
    assert split(join(hashes)) == hashes


def test_the_hash_depends_on_key_kind_and_value() -> None:
    hashes = {
        Hasher(key)(kind, value)
        for key in (b"a" * 16, b"b" * 16)
        for kind in ("user_id", "anonymous_id")
        for value in ("1", "2")
    }
    assert len(hashes) == 8
    assert {len(value) for value in hashes} == {HASH_SIZE}


def test_a_value_may_hold_colons() -> None:
    assert Identifier.parse("user_id:a:b") == Identifier("user_id", "a:b")


@pytest.mark.parametrize("text", ["", "user_id", "user_id:", "user_id:  ", "shoe_size:44", "email:a@b.c"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="kind:value"):
        Identifier.parse(text)
