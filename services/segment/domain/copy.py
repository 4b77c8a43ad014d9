"""What is kept of a person, as a list of values, each with its source, time and purposes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from services.kernel.events import GoldenRecord, Transition
from services.segment.domain.definition import Segment
from services.segment.domain.presentation import time_text, transition_shown

Value = dict[str, Any]
SOURCE = "rule of the segment"
COPIED = "copy of the golden record"


class Standing(NamedTuple):
    """How a profile stands to a segment since its last transition."""

    profile_id: bytes
    segment_key: str
    member: bool
    sequence: int
    segment_version: int
    reason: str
    occurred_at: int


def values(
    copies: Iterable[GoldenRecord | None],
    standings: Iterable[Standing],
    transitions: Iterable[Transition],
    segments: Mapping[str, Segment],
) -> list[Value]:
    """Copies, memberships and transitions of a person's profiles."""
    return [
        *(_copy(copy) for copy in copies if copy is not None),
        *(_membership(standing, segments) for standing in standings),
        *(
            {
                "what": f"{'entered' if one.member else 'left'} {_name(one.segment_key, segments)}",
                "value": transition_shown(one),
                "source": SOURCE,
                "time": time_text(one.occurred_at),
                "purposes": _purposes(one.segment_key, segments),
            }
            for one in transitions
        ),
    ]


def _copy(record: GoldenRecord) -> Value:
    said = {
        "user_ids": record.user_ids,
        "anonymous_ids": record.anonymous_ids,
        "traits": _traits(record.traits),
        "activity": {name: activity.count for name, activity in record.activity.items()},
    }
    return {
        "what": "golden record",
        "value": said,
        "source": COPIED,
        "time": time_text(record.received_at),
        "purposes": record.purposes,
    }


def _traits(json: bytes) -> Any:
    """The text itself where it has no value that can be decoded."""
    try:
        return msgspec.json.decode(json)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return json.decode(errors="replace")


def _membership(standing: Standing, segments: Mapping[str, Segment]) -> Value:
    return {
        "what": f"membership of {_name(standing.segment_key, segments)}",
        "value": {"member": standing.member, "reason": standing.reason},
        "source": SOURCE,
        "time": time_text(standing.occurred_at),
        "purposes": _purposes(standing.segment_key, segments),
    }


def _name(key: str, segments: Mapping[str, Segment]) -> str:
    return segments[key].definition.name if key in segments else key


def _purposes(key: str, segments: Mapping[str, Segment]) -> list[str]:
    return [segments[key].definition.purpose] if key in segments else []
