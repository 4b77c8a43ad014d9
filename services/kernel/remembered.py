"""Caches whose keys are chosen by those who send: only short keys are kept, so that the memory is bounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

LONGEST = 200
"""Characters or bytes of a key that is remembered: what repeats is short."""

Key = TypeVar("Key", str, bytes)
Found = TypeVar("Found")


def remembered(size: int = 10_000) -> Callable[[Callable[[Key], Found]], Callable[[Key], Found]]:
    """The results of the last ``size`` short keys are kept; those of longer ones are found out each time."""

    def decorate(function: Callable[[Key], Found]) -> Callable[[Key], Found]:
        known = lru_cache(size)(function)

        @wraps(function)
        def find(key: Key) -> Found:
            return known(key) if len(key) <= LONGEST else function(key)

        return find

    return decorate
