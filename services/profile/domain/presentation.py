"""Profiles as people and programs read them through the API: JSON, times in ISO 8601."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.kernel.events import Event, GoldenRecord
from services.profile.domain.golden import Member, facts, winners

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RULE = "last by event time"
"""The survivorship rule that every trait has."""


def time_shown(at: int) -> str:
    """Microseconds since the epoch as ISO 8601, UTC."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")


def record_shown(record: GoldenRecord) -> dict[str, Any]:
    """The golden record."""
    return {
        "profile_id": record.profile_id,
        "user_ids": record.user_ids,
        "anonymous_ids": record.anonymous_ids,
        "purposes": record.purposes,
        "traits": read_json(record.traits),
        "activity": {
            name: {
                "count": activity.count,
                "first_at": time_shown(activity.first_at),
                "last_at": time_shown(activity.last_at),
                "sums": activity.sums,
            }
            for name, activity in record.activity.items()
        },
        "first_seen_at": time_shown(record.first_seen_at),
        "last_seen_at": time_shown(record.last_seen_at),
    }


def explained(members: Sequence[Member]) -> dict[str, Any]:
    """Per trait where its value comes from, by which rule, and what else was told of it."""
    names = {id: f"{facet.kind}:{facet.value}" for id, facet in members}
    return {
        name: {
            "value": read_json(winner.value),
            "source": winner.source,
            "message_id": winner.message_id,
            "at": time_shown(winner.at),
            "identifier": names[winner.facet],
            "rule": RULE,
            "told": [
                {
                    "source": source,
                    "identifier": names[facet],
                    "first": {"value": read_json(first[2]), "at": time_shown(first[0])},
                    "last": {"value": read_json(last[2]), "at": time_shown(last[0])},
                }
                for source, facet, first, last in facts(members, name)
            ],
        }
        for name, winner in sorted(winners(members).items())
    }


def identifiers_shown(root: bytes, members: Sequence[Member]) -> list[dict[str, Any]]:
    """Every identifier of the profile; the root's first."""
    return [
        {
            "kind": facet.kind,
            "value": facet.value,
            "root": id == root,
            "events": facet.events,
            "first_seen_at": time_shown(facet.first_at) if facet.events else None,
            "last_seen_at": time_shown(facet.last_at) if facet.events else None,
        }
        for id, facet in sorted(members, key=lambda member: (member.id != root, member.id))
    ]


def links_shown(members: Sequence[Member]) -> list[dict[str, Any]]:
    """All evidence within the profile: which sources showed two identifiers together, first and last."""
    names = {id: f"{facet.kind}:{facet.value}" for id, facet in members}
    return [
        {
            "identifier": names[child],
            "with": names[parent],
            "source": source,
            "first": {"at": time_shown(first_at), "message_id": first_id},
            "last": {"at": time_shown(last_at), "message_id": last_id},
        }
        for parent, facet in sorted(members)
        for child, sightings in sorted(facet.links.items())
        if child in names
        for source, (first_at, first_id, last_at, last_id) in sorted(sightings.items())
    ]


def event_shown(event: Event, purposes: str) -> dict[str, Any]:
    """An applied event with the purposes that were allowed for it then.

    A payload that can't be decoded stands as text under ``payload``.
    """
    payload = read_json(event.payload)
    return {
        "message_id": event.message_id,
        "source": event.source,
        "type": event.type,
        "name": event.name,
        "user_id": event.user_id,
        "anonymous_id": event.anonymous_id,
        "timestamp": time_shown(event.timestamp),
        "received_at": time_shown(event.received_at),
        "purposes": purposes.split(",") if purposes else [],
        **(payload if isinstance(payload, dict) else {"payload": payload}),
    }


def read_json(json: bytes) -> Any:
    """The value; the text itself where it has none that can be decoded, such as the number 1e999."""
    try:
        return msgspec.json.decode(json)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return json.decode(errors="replace")
