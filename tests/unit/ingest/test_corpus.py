"""Recall and false positives on seeded corpora; tests/bench/masking.py measures the same on larger ones."""

from __future__ import annotations

from tests.bench.masking import false_positives, recall


def test_at_least_98_card_numbers_in_a_hundred_are_found_and_leave_no_digits() -> None:
    found = recall(seed=20261123, each=1)
    assert found["total"].share >= 0.98, found
    assert all(tally.share >= 0.95 for tally in found.values()), found


def test_at_most_one_id_in_a_hundred_is_taken_for_a_card() -> None:
    wrong = false_positives(seed=20261123, each=200)
    assert wrong["total"].share <= 0.01, wrong
