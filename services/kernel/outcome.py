"""How a record ends that can not be processed, and the two kinds of failure.

Pure code that fails is a bad record; I/O that fails is an outage (see consume.py, which acts on both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Dead:
    """The record can not be processed. ``detail`` names the place, never a value of the record."""

    reason: str
    detail: str = ""


class CandorError(Exception):
    """Base of all errors of our own; the first argument is the message."""


class BadRecord(CandorError):
    """A record that codec or domain refuses: ``reason`` is a short code, ``detail`` the place."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Outage(CandorError):
    """Kafka or Postgres can not do now what was asked. Nothing is committed; try again later.

    ``dependency``: which of them, as metrics name it.
    """

    def __init__(self, message: str, *, dependency: Literal["kafka", "postgres"] = "kafka") -> None:
        super().__init__(message)
        self.dependency = dependency


class TooManyDead(CandorError):
    """Dead letters in a row passed the limit: most likely a bad deploy. The process must stop."""
