"""How much a key may send, against a naive model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.rate import BURST_SECONDS, Bucket, Meter, Rate

steps = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5_000)), max_size=50)


@given(st.integers(1, 1_000), steps)
def test_no_window_lets_more_through_than_the_rate_and_one_burst(
    rate: int, given: list[tuple[float, int]]
) -> None:
    bucket, now = Bucket(rate, 0.0), 0.0
    taken: list[tuple[float, int]] = []
    for seconds, amount in given:
        now += seconds
        if not bucket.wait(amount, now):
            bucket.take(amount)
            taken.append((now, amount))
    for first, (start, _) in enumerate(taken):
        for end, last in taken[first:]:
            sent = sum(amount for at, amount in taken[first:] if at <= end)
            # The last one may be larger than what the bucket holds.
            assert sent - last <= (BURST_SECONDS + end - start) * rate + 1e-6


@given(st.integers(1, 1_000), steps)
def test_after_the_time_that_it_says_it_lets_through(rate: int, given: list[tuple[float, int]]) -> None:
    bucket, now = Bucket(rate, 0.0), 0.0
    for seconds, amount in given:
        now += seconds
        wait = bucket.wait(amount, now)
        now += wait + 1e-6
        assert not bucket.wait(amount, now)
        bucket.take(amount)


def test_a_request_takes_events_and_bytes_or_nothing() -> None:
    meter = Meter(Rate(events=10, bytes=100), 0.0)
    assert meter.take(50, 900, 0.0) == 0
    assert meter.take(10, 300, 0.0) == 2  # bytes are short by 200; the events are not taken
    assert meter.take(50, 100, 0.0) == 0
    assert meter.take(1, 1, 0.0) == 0.1


def test_nothing_is_held_back_where_there_is_no_limit() -> None:
    meter = Meter(Rate(0, 0), 0.0)
    assert all(meter.take(1_000_000, 1_000_000_000, 0.0) == 0 for _ in range(10))


def test_a_clock_that_goes_back_does_no_harm() -> None:
    bucket = Bucket(10, 100.0)
    bucket.take(100)
    assert bucket.wait(10, 50.0) == 1
