"""The policy and its catalog as the API tells them to people, in one language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.consent.domain.presentation import time_shown
from services.consent.domain.unlisted import Unlisted, still_unlisted
from services.kernel.policy import EVERY, Policy
from services.kernel.policy.model import CatalogEvent, Place, Trait


def policy_shown(policy: Policy, language: str, place: Place | None) -> dict[str, Any]:
    """All that asking somebody in that place takes; ``language`` is one of the policy's."""
    texts = policy.texts[language]
    denied = policy.gpc.denies
    return {
        "version": policy.version,
        "hash": policy.hash,
        "text_hash": policy.text_hash(language),
        "controller": msgspec.to_builtins(policy.controller),
        "language": language,
        "direction": texts.direction,
        "languages": list(policy.texts),
        "jurisdiction": place or policy.jurisdiction(place),
        "regime": policy.regime(place),
        "grants": {"days": policy.grants.days},
        "purposes": [
            {
                "id": purpose,
                "name": texts.purposes[purpose].name,
                "description": texts.purposes[purpose].description,
                "gpc": purpose in denied or EVERY in denied,
            }
            for purpose in policy.purposes
        ],
        "texts": msgspec.to_builtins(texts.banner),
    }


def catalog_shown(policy: Policy, language: str, seen: Mapping[Unlisted, tuple[int, int]]) -> dict[str, Any]:
    """What is collected, why, how long and who gets it. ``keep_days`` null: until the person has it erased.
    ``seen``: what the catalog lacked, with the first and last time."""
    return {
        "version": policy.version,
        "hash": policy.hash,
        "language": language,
        "events": [
            _entry(policy, language, name, event) | {"fields": _fields(event, language)}
            for name, event in policy.catalog.events.items()
        ],
        "traits": [_entry(policy, language, name, trait) for name, trait in policy.catalog.traits.items()],
        "unlisted": [
            {
                "kind": item.kind,
                "event": item.event or None,
                "name": item.name,
                "source": item.source,
                "first_seen": time_shown(seen[item][0]),
                "last_seen": time_shown(seen[item][1]),
            }
            for item in still_unlisted(seen, policy)
        ],
    }


def _entry(policy: Policy, language: str, name: str, entry: Trait) -> dict[str, Any]:
    recipients = policy.texts[language].recipients
    return {
        "name": name,
        "why": entry.why[language],
        "purposes": list(entry.purposes),
        "keep_days": entry.keep_days,
        "recipients": [recipients[recipient] for recipient in entry.recipients],
    }


def _fields(event: CatalogEvent, language: str) -> list[dict[str, str]]:
    return [{"name": name, "what": told[language]} for name, told in event.fields.items()]
