"""What is kept of a person, as a list of values, each with its source, time and purposes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from services.kernel.events import Event, GoldenRecord
from services.profile.domain.golden import Member
from services.profile.domain.presentation import event_shown, links_shown, read_json, record_shown, time_shown

Value = dict[str, Any]
COUNTED = "counted from the events below"
SEEN = "events"
_ELSEWHERE = ("source", "timestamp", "purposes")
"""Members of an event that stand beside its value."""


def facet_values(members: Sequence[Member], record: GoldenRecord) -> list[Value]:
    """Identifiers, traits, counts and links. ``record``: the fold of just these members."""
    return [
        *_identifiers(members, record.purposes),
        *_traits(members, record.purposes),
        *_activity(record),
        *_links(members, record.purposes),
    ]


def event_values(events: Iterable[tuple[Event, str]]) -> list[Value]:
    """Events, each with the purposes that were allowed for it when it came."""
    values = []
    for event, purposes in events:
        shown = event_shown(event, purposes)
        said = {name: value for name, value in shown.items() if name not in _ELSEWHERE and value is not None}
        values.append(
            _value(
                f"event {event.name or event.type}", said, event.source, event.timestamp, shown["purposes"]
            )
        )
    return values


def _identifiers(members: Sequence[Member], purposes: list[str]) -> list[Value]:
    return [
        _value(
            f"identifier {facet.kind}", facet.value, SEEN, facet.first_at if facet.events else None, purposes
        )
        for _, facet in sorted(members)
    ]


def _traits(members: Sequence[Member], purposes: list[str]) -> list[Value]:
    """What each source said of each trait first and last."""
    values = []
    for _, facet in sorted(members):
        for name, spans in sorted(facet.traits.items()):
            for source, (first, last) in sorted(spans.items()):
                for at, _, text in (first, last) if first != last else (last,):
                    values.append(_value(f"trait {name}", read_json(text), source, at, purposes))
    return values


def _activity(record: GoldenRecord) -> list[Value]:
    shown = record_shown(record)["activity"]
    return [
        _value(f"count of {name}", shown[name], COUNTED, activity.last_at, record.purposes)
        for name, activity in record.activity.items()
    ]


def _links(members: Sequence[Member], purposes: list[str]) -> list[Value]:
    return [
        {
            "what": "link between identifiers",
            "value": {"identifier": link["identifier"], "with": link["with"]},
            "source": link["source"],
            "time": link["first"]["at"],
            "purposes": purposes,
        }
        for link in links_shown(members)
    ]


def _value(what: str, value: Any, source: str, at: int | None, purposes: list[str]) -> Value:
    time = None if at is None else time_shown(at)
    return {"what": what, "value": value, "source": source, "time": time, "purposes": purposes}
