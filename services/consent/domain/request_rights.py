"""A person's requests: what may be asked for, by when it is due, how far it is, and what remains."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from services.consent.domain.presentation import time_shown

ACCESS, ERASURE = "access", "erasure"
RECTIFICATION, RESTRICTION = "rectification", "restriction"
STEPS: Mapping[str, Sequence[str]] = {
    ACCESS: ("consent",),
    ERASURE: ("consent", "profile", "segment", "ingest"),
    RECTIFICATION: ("profile",),
    RESTRICTION: ("consent",),
}
"""What may be asked for, and who has to do something then."""
WAITING, DONE, FAILED = "waiting", "done", "failed"
OPT_IN_MONTHS = 1
"""GDPR, article 12 (3)."""
ELSEWHERE_DAYS = 45
"""California Civil Code 1798.130 (a) (2)."""

SECOND = 1_000_000
MILLISECOND = 1_000
DELETION_SECONDS = 6 * 60
"""Kafka looks for what has expired every five minutes, and deletes a file one minute after it has put it
aside."""
COMPACTION_SECONDS = 30 * 60
"""A log's turn with Kafka's cleaner comes within this, and it takes as long at most."""


class Holding(Protocol):
    """What the registry says of a topic: what of a person stands in it, and how it is cleaned."""

    @property
    def holds(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one service has to do. ``at``: when it last said so, µs; None while it waits."""

    service: str
    state: str
    at: int | None
    counts: Mapping[str, int]
    detail: str


@dataclass(frozen=True, slots=True)
class Request:
    """``how``: what the person showed, visitor, link or key. ``named``: hashes it was asked for. Once an
    erasure was cut, ``concerned``: hashes of all that it reaches, and ``erased_at``, µs."""

    id: str
    type: str
    how: str
    named: frozenset[bytes]
    received_at: int
    due_at: int
    steps: tuple[Step, ...]
    concerned: frozenset[bytes] = frozenset()
    erased_at: int = 0

    @property
    def open_steps(self) -> list[Step]:
        return [step for step in self.steps if step.state != DONE]


def due_at(received_at: int, regime: str) -> int:
    """When it must be answered, µs: within a month where people must opt in, else within 45 days."""
    received = datetime.fromtimestamp(received_at / SECOND, UTC)
    if regime != "opt_in":
        return received_at + ELSEWHERE_DAYS * 86_400 * SECOND
    year, month = divmod(received.year * 12 + received.month - 1 + OPT_IN_MONTHS, 12)
    day = min(received.day, monthrange(year, month + 1)[1])
    due = received.replace(year=year, month=month + 1, day=day)
    return received_at + (due - received) // timedelta(microseconds=1)


def state_of(steps: Iterable[Step]) -> str:
    """done when all are, failed while one has failed (it is tried again), else open."""
    states = {step.state for step in steps}
    return FAILED if FAILED in states else DONE if states == {DONE} else "open"


def is_final(request: Request) -> bool:
    """Whether nothing moves any more: all is done, or what was to be put right could not be, and is kept
    nowhere: the person asks again."""
    state = state_of(request.steps)
    return state == DONE or (state == FAILED and request.type == RECTIFICATION)


def request_shown(request: Request, topics: Mapping[str, Holding]) -> dict[str, Any]:
    """A request as the API shows it. ``topics``: all of the registry."""
    return {
        "id": request.id,
        "type": request.type,
        "state": state_of(request.steps),
        "final": is_final(request),
        "received_at": time_shown(request.received_at),
        "due_at": time_shown(request.due_at),
        "steps": [
            {
                "service": step.service,
                "state": step.state,
                "at": None if step.at is None else time_shown(step.at),
                "counts": dict(step.counts),
                "detail": step.detail,
            }
            for step in sorted(request.steps, key=lambda step: STEPS[request.type].index(step.service))
        ],
        "remains": remains(request, topics) if request.type == ERASURE else [],
    }


def remains(request: Request, topics: Mapping[str, Holding]) -> list[dict[str, Any]]:
    """What of an erased person still stands where, and by when it goes; None: it stays."""
    since = max([request.erased_at or request.received_at, *(step.at or 0 for step in request.steps)])
    shown: list[dict[str, Any]] = [
        {
            "what": topic.holds,
            "where": f"Kafka: {name}",
            "until": time_shown(since + gone_after(topic.config)),
        }
        for name, topic in topics.items()
        if topic.holds
    ]
    for what, where in _STAYS.items():
        shown.append({"what": what, "where": where, "until": None})
    return shown


_STAYS = {
    "the denial and its cut, by keyed hash: what began before it is never used again": "Kafka: consent.state",
    "that decisions were made: keyed hashes, purposes, times and the decisions' ids": "consent: ledger",
    "links between identifiers, as keyed hashes": "consent: links",
    "that somebody read or changed the person's data, by keyed hash": "consent: audit",
    "this request, and the hash of the browser's secret": "consent: requests, visitors",
    "hashes of message ids, for 37 days": "profile: message_ids",
    "that segments were entered and left, by profile id": "segment: memberships, transitions",
    "deleted rows, until Postgres has vacuumed and reused their pages and recycled its log; "
    "backups, until the operator's expire": "Postgres",
}


def gone_after(config: Mapping[str, Any]) -> int:
    """For how long at most a record stays readable in a topic of that configuration, µs.

    Of a compacted one: once it was replaced, or deleted by a tombstone, and its segment is closed.
    """
    if config["cleanup.policy"] == "compact":
        waits = (2 * int(config["segment.ms"]) + int(config["max.compaction.lag.ms"])) * MILLISECOND
        return waits + COMPACTION_SECONDS * SECOND
    return (int(config["retention.ms"]) + int(config["segment.ms"])) * MILLISECOND + DELETION_SECONDS * SECOND
