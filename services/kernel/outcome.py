"""How every record ends: Ok, Drop or Dead; and the two kinds of failure.

Pure code that fails is a bad record; I/O that fails is an outage (see consume.py, which acts on both).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ok:
    """The record did its work."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The record must have no effect and its payload is kept nowhere. ``reason`` is a metric label."""

    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """The record can not be processed. ``detail`` names the place, never a value of the record."""

    reason: str
    detail: str = ""


Outcome = Ok | Drop | Dead
OK = Ok()


class CandorError(Exception):
    """Base of all errors of our own; the first argument is the message."""


class BadRecord(CandorError):
    """A record that codec or domain refuses: ``reason`` is a short code, ``detail`` the place."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Outage(CandorError):
    """Kafka or Postgres can not do now what was asked. Nothing is committed; try again later."""


class TooManyDead(CandorError):
    """Dead letters in a row passed the limit: most likely a bad deploy. The process must stop."""
