"""Transitions and definitions as the HTTP API shows them: times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.kernel.events import Transition
from services.segment.domain.definition import Segment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(microseconds: int) -> str:
    """``2026-01-31T09:00:00.000000Z``"""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def transition_shown(transition: Transition, merged_into: bytes | None = None) -> dict[str, Any]:
    """The same fields as on the topic, and the surviving profile of a merge."""
    shown: dict[str, Any] = msgspec.to_builtins(transition)
    shown["occurred_at"] = time_text(transition.occurred_at)
    shown["evaluated_at"] = time_text(transition.evaluated_at)
    if merged_into is not None:
        shown["merged_into"] = merged_into.hex()
    return shown


def segment_shown(segment: Segment, members: int, *, filling: bool) -> dict[str, Any]:
    """``filling``: not all stored profiles are judged by this version yet."""
    return {
        "key": segment.key,
        "version": segment.version,
        "name": segment.definition.name,
        "purpose": segment.definition.purpose,
        "rule": msgspec.json.decode(segment.definition.rule),
        "defined_at": time_text(segment.defined_at),
        "members": members,
        "filling": filling,
    }
