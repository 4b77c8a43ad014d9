"""What the API shows of decisions and states, as JSON objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.consent.domain.ledger import Row, Terms, read_terms
from services.consent.domain.rule import DEFAULT, DENIED, answer
from services.kernel.events import ConsentState
from services.kernel.identifier import Identifier
from services.kernel.policy import Policy
from services.kernel.policy.model import Place, is_place


def time_shown(time: int) -> str:
    """ISO 8601 of microseconds since the epoch, UTC."""
    return datetime.fromtimestamp(time / 1_000_000, UTC).isoformat(timespec="milliseconds")


def state_shown(
    identifier: Identifier, state: ConsentState, now: int, policy: Policy, place: Place | None
) -> dict[str, Any]:
    """What holds for an identifier at that time, for each of the policy's purposes."""
    default, regime = policy.default(place), policy.regime(place)
    purposes = {}
    for purpose in policy.purposes:
        verdict = answer(state, purpose, now)
        shown: dict[str, Any] = {"allowed": default, "because": f"default ({regime})"}
        if verdict == DENIED:
            shown = {"allowed": False, "because": "denied"}
        elif verdict != DEFAULT:
            shown = {"allowed": True, "because": "granted", "expires_at": time_shown(verdict)}
        purposes[purpose] = shown
    return {
        "identifier": str(identifier),
        "at": time_shown(now),
        "version": state.version,
        "decided_at": time_shown(state.decided_at) if state.decided_at else None,
        "gpc": state.gpc,
        "purposes": purposes,
    }


def choices_shown(
    states: Collection[ConsentState], now: int, policy: Policy, place: str | None
) -> dict[str, Any]:
    """What holds for a person with these identifiers in that place, for each of the policy's purposes: what
    all of them allow."""
    choices: dict[str, Any] = {}
    default, regime = policy.default(place), policy.regime(place)
    for purpose in policy.purposes:
        verdicts = [answer(state, purpose, now) for state in states]
        if DENIED in verdicts:
            choices[purpose] = {"allowed": False, "because": "denied"}
        elif DEFAULT in verdicts or not verdicts:
            choices[purpose] = {"allowed": default, "because": f"default ({regime})"}
        else:
            ends = time_shown(min(verdicts))
            choices[purpose] = {"allowed": True, "because": "granted", "expires_at": ends}
    return choices


def place_of(rows: Sequence[Row]) -> Place | None:
    """Where the person was when they last said so with a decision."""
    for row in reversed(rows):
        record: dict[str, Any] = {} if row.record is None else msgspec.json.decode(row.record)
        if is_place(str(record.get("jurisdiction"))):
            return str(record["jurisdiction"])
    return None


def receipt_line(row: Row) -> dict[str, Any]:
    """A decision in the list of a person's receipts."""
    terms = read_terms(row.terms)
    record: dict[str, Any] = {} if row.record is None else msgspec.json.decode(row.record)
    kept = ("language", "text_hash", "policy_version", "regime")
    return {
        "position": row.position,
        "decided_at": time_shown(terms.decided_at),
        "method": terms.method,
        "purposes": terms.purposes,
        **{name: record.get(name) for name in kept},
    }


def receipt_shown(terms: Terms, position: int | None, identifiers: Iterable[Identifier]) -> dict[str, Any]:
    """A decision for the person. ``position``: in the ledger, None when it told nothing new."""
    return {
        **_terms_shown(terms),
        "position": position,
        "identifiers": sorted(map(str, identifiers)),
    }


def row_shown(row: Row) -> dict[str, Any]:
    """A row of the ledger; ``record`` is null once it was erased."""
    terms = read_terms(row.terms)
    return {
        **_terms_shown(terms),
        "position": row.position,
        "source": terms.source,
        "record": None if row.record is None else msgspec.Raw(row.record),
        "hash": row.hash.hex(),
    }


def _terms_shown(terms: Terms) -> dict[str, Any]:
    return {
        "id": terms.id,
        "purposes": terms.purposes,
        "method": terms.method,
        "decided_at": time_shown(terms.decided_at),
        "expires_at": time_shown(terms.expires_at) if terms.expires_at else None,
    }
