"""The receipt of a decision, in the form of ISO/IEC TS 27560:2023 (consent record information structure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.consent.domain.ledger import Row, Terms, read_terms
from services.consent.domain.presentation import time_shown
from services.consent.domain.rule import EVERY

SCHEMA = "ISO/IEC TS 27560:2023"
_EVENT = {"grant": ("consent-given", "given"), "deny": ("consent-refused-or-withdrawn", "withdrawn")}


def receipt(
    row: Row,
    identifiers: Iterable[str],
    controller: Mapping[str, Any],
    purposes: Mapping[str, str],
    now: int,
) -> dict[str, Any]:
    """The receipt of a row of the ledger, made out for these identifiers at that time (µs).

    ``controller``: name, contact, privacy_url, as far as known; ``purposes``: names or texts of those in
    force. What the record holds no more, because it was erased, is null.
    """
    terms = read_terms(row.terms)
    record: dict[str, Any] = msgspec.json.decode(row.record) if row.record is not None else {}
    asked = sorted(purposes) if EVERY in terms.purposes else sorted(terms.purposes)
    return {
        "schema_version": SCHEMA,
        "receipt_metadata": {"receipt_id": row.hash.hex(), "issued_at": time_shown(now)},
        "record_metadata": {
            "record_id": str(row.position),
            "pii_principal_id": sorted(identifiers),
            "record_hash": row.hash.hex(),
        },
        "processing": {
            "privacy_notice": {
                "url": controller.get("privacy_url"),
                "version": record.get("policy_version"),
                "hash": record.get("text_hash", record.get("policy_hash")),
            },
            "language": record.get("language"),
            "collection_method": terms.method,
            "lawful_basis": "consent",
            "jurisdiction": record.get("jurisdiction"),
            "regime": record.get("regime"),
            "purposes": [_purpose(name, terms, purposes) for name in asked],
            "withdrawal_method": "/preferences",
            "privacy_rights": "/v1/privacy/requests",
        },
        "party_identification": [
            {
                "party_id": "controller",
                "party_role": "pii_controller",
                "party_name": controller.get("name"),
                "party_contact": controller.get("contact"),
            }
        ],
        "events": [_event(terms, choice) for choice in sorted(set(terms.purposes.values()))],
    }


def _purpose(name: str, terms: Terms, purposes: Mapping[str, str]) -> dict[str, Any]:
    choice = terms.purposes.get(name, terms.purposes.get(EVERY))
    return {
        "purpose": name,
        "description": purposes.get(name),
        "state": _EVENT[choice][1] if choice else None,
    }


def _event(terms: Terms, choice: str) -> dict[str, Any]:
    kind, state = _EVENT[choice]
    ends = terms.expires_at if choice == "grant" else 0
    return {
        "event_time": time_shown(terms.decided_at),
        "event_type": kind,
        "event_state": state,
        "entity_id": "pii_principal",
        "valid_until": time_shown(ends) if ends else None,
    }
