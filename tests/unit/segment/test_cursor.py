from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.segment.domain.cursor import read_cursor, write_cursor


@given(st.dictionaries(st.integers(0, 20), st.integers(0, 10**12)))
def test_any_cursor_is_read_as_it_was_written(cursor: dict[int, int]) -> None:
    read = read_cursor(write_cursor(cursor))
    assert {place: position for place, position in read.items() if position} == {
        place: position for place, position in cursor.items() if position
    }


@pytest.mark.parametrize(
    "text", ["", "x", "1.", ".1", "-1", "1,2", "1" * 19, "١", "1.2\n", "0." * 1001 + "0"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        read_cursor(text)
