"""Clock correction: any clock of a client gives the true time, and absurd ones are bounded and marked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.times import DAY, EARLIEST, corrected, microseconds

RECEIVED = 1_795_446_840_123_456
MOMENTS = st.integers(EARLIEST, RECEIVED)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(moment: int) -> str:
    return (EPOCH + timedelta(microseconds=moment)).isoformat()


@given(MOMENTS, st.integers(-400 * DAY, 400 * DAY), st.integers(0, 10_000_000))
def test_a_wrong_clock_is_taken_out(happened: int, wrong_by: int, under_way: int) -> None:
    """Whatever the client's clock says, the event happened as long before sending as it says."""
    sent = RECEIVED + wrong_by
    original = iso(sent - (RECEIVED - happened))
    assert corrected(original, sent, RECEIVED) == (happened, False)


@given(MOMENTS)
def test_without_sent_at_the_clients_value_stands(happened: int) -> None:
    assert corrected(iso(happened), None, RECEIVED) == (happened, False)


def test_without_any_value_it_happened_when_it_was_received() -> None:
    assert corrected(None, 5, RECEIVED) == (RECEIVED, False)


@given(
    st.one_of(st.text(), st.integers(), st.floats(), st.datetimes().map(datetime.isoformat)),
    st.none() | st.integers(-(2**62), 2**62),
)
def test_any_value_ends_within_the_bounds(original: str | int | float, sent_at: int | None) -> None:
    timestamp, bounded = corrected(original, sent_at, RECEIVED)
    assert EARLIEST <= timestamp <= RECEIVED
    if not bounded and timestamp != RECEIVED:
        happened = microseconds(original)
        assert happened is not None
        assert timestamp == happened + (RECEIVED - sent_at if sent_at is not None else 0)


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (iso(RECEIVED + 1), (RECEIVED, True)),
        (iso(EARLIEST - 1), (EARLIEST, True)),
        (0, (EARLIEST, True)),
        ("9999-12-31T23:59:59Z", (RECEIVED, True)),
        ("yesterday", (RECEIVED, True)),
        (float("nan"), (RECEIVED, True)),
        (10**400, (RECEIVED, True)),
    ],
)
def test_absurd_times_are_bounded_and_marked(original: str | int | float, expected: tuple[int, bool]) -> None:
    assert corrected(original, None, RECEIVED) == expected


@pytest.mark.parametrize(
    "value",
    ["2026-11-23T15:14:00Z", "2026-11-23T15:14:00.000+00:00", "2026-11-23T16:14:00+01:00",
     "2026-11-23 15:14:00", "20261123T151400Z", 1795446840, 1795446840000, 1795446840000.0],
)  # fmt: skip
def test_the_ways_clients_write_a_time(value: str | int | float) -> None:
    expected = datetime(2026, 11, 23, 16, 14, tzinfo=timezone(timedelta(hours=1)))
    assert microseconds(value) == (expected - EPOCH) // timedelta(microseconds=1)
