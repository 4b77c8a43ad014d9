"""The naive model: golden records computed from the sorted set of events, with nothing incremental in it."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from typing import Any

from services.kernel.events import Event
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher

HASHER = Hasher(b"0123456789abcdef")
HOUR = 3_600_000_000


def event(number: int, **fields: Any) -> Event:
    """An event with defaults; its payload is given as ``properties`` or ``traits``."""
    payload = {name: fields.pop(name) for name in ("properties", "traits") if name in fields}
    received = fields.pop("received_at", 1_700_000_000_000_000 + number)
    values: dict[str, Any] = {
        "message_id": f"m{number}",
        "source": "web",
        "type": "track",
        "name": "Viewed",
        "user_id": None,
        "anonymous_id": None,
        "previous_id": None,
        "group_id": None,
        "timestamp": 1_700_000_000_000_000 + number,
        "timestamp_bounded": False,
        "received_at": received,
        "received_day": received // (24 * HOUR),
        "payload": json.dumps(payload).encode(),
    }
    return Event(**(values | fields))


def roots(events: list[Event]) -> dict[tuple[str, str], tuple[str, str]]:
    """The root of every identifier, by brute force over the set of events."""
    own = {routing(e) for e in events}
    found = set(own)
    joined: list[tuple[str, str]] = []
    claims: dict[str, list[tuple[int, str, str, str]]] = {}
    for e in sorted(events, key=lambda e: (e.timestamp, e.message_id, e.source)):
        if e.user_id is None:
            continue
        previous = e.previous_id if e.type == "alias" and e.previous_id != e.user_id else None
        if previous is not None:
            found.add((USER_ID, previous))
            joined.append((e.user_id, previous))
        for child in {e.anonymous_id, previous} - {None}:
            assert child is not None
            found.add((ANONYMOUS_ID, child))
            claims.setdefault(child, []).append((e.timestamp, e.message_id, e.source, e.user_id))
    result = {}
    for kind, value in found:
        user = value
        if kind == ANONYMOUS_ID:
            if value not in claims:
                result[kind, value] = (kind, value)
                continue
            user = min(claims[value])[3]
        component = {user}
        for _ in joined:
            component |= {b for a, b in joined if a in component} | {a for a, b in joined if b in component}
        root = min(component, key=lambda u: ((USER_ID, u) not in own, HASHER(USER_ID, u)))
        result[kind, value] = (USER_ID, root)
    return result


def routing(e: Event) -> tuple[str, str]:
    if e.user_id is not None:
        return USER_ID, e.user_id
    assert e.anonymous_id is not None
    return ANONYMOUS_ID, e.anonymous_id


def golden(events: list[Event]) -> dict[str, dict[str, Any]]:
    """By profile id, all that promise 5 speaks of."""
    tree = roots(events)
    own = {routing(e) for e in events}
    result = {}
    for root in set(tree.values()):
        identifiers = {identifier for identifier, its in tree.items() if its == root}
        members = [e for e in events if routing(e) in identifiers]
        members.sort(key=lambda e: (e.timestamp, e.message_id, e.source))
        users = sorted(v for k, v in identifiers if k == USER_ID and (k, v) in own)
        traits: dict[str, Any] = {}
        for e in members:
            if e.type == "identify":
                traits |= json.loads(e.payload)["traits"]
        newest = members[-1].timestamp // HOUR
        result[HASHER(*root).hex()] = {
            "user_ids": sorted(users, key=lambda u: (u != root[1], u)),
            "anonymous_ids": sorted(
                v for k, v in identifiers if k == ANONYMOUS_ID and ((k, v) in own or v not in users)
            ),
            "traits": {name: value for name, value in sorted(traits.items()) if value is not None},
            "activity": _activity(members, newest),
            "first_seen_at": members[0].timestamp,
            "last_seen_at": members[-1].timestamp,
            "place": _place(members),
        }
    return result


def _place(members: list[Event]) -> str | None:
    """As an event declared last, else as a source said last. ``members`` in the order of time."""
    for declared in (True, False):
        for e in reversed(members):
            if e.place is not None and e.place_declared is declared:
                return e.place
    return None


def _activity(members: list[Event], newest: int) -> dict[str, Any]:
    by_name: dict[str, list[Event]] = {}
    for e in members:
        name = e.name if e.type == "track" else f"${e.type}" if e.type in ("page", "screen") else None
        if name is not None:
            by_name.setdefault(name, []).append(e)
    result = {}
    for name, own in by_name.items():
        hours = Counter(e.timestamp // HOUR for e in own)
        days = Counter(e.timestamp // HOUR // 24 for e in own)
        sums: dict[str, Fraction] = {}
        for e in own:
            if e.type != "track":
                continue
            told = json.loads(e.payload, parse_float=Fraction).get("properties", {})
            for field in ("revenue", "total", "value"):
                if field in told:
                    sums[field] = sums.get(field, Fraction(0)) + Fraction(told[field])
        recent = sorted(hour for hour in hours if hour > newest - 32 * 24)
        result[name] = {
            "count": len(own),
            "first_at": own[0].timestamp,
            "last_at": own[-1].timestamp,
            "hours": recent,
            "hour_counts": [hours[hour] for hour in recent],
            "days": sorted(days),
            "day_counts": [days[day] for day in sorted(days)],
            "sums": sums,
        }
    return result
