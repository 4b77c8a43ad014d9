"""What stands in events and not in the policy's catalog. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from services.kernel.events import Event
from services.kernel.policy import Policy
from services.kernel.policy.model import catalog_name

MAX_NAME = 100
HIDDEN = "…"
"""Stands for a name that is no name: senders may put anything there, and everybody may read this list."""
_NO_NAME = re.compile(r"[@<>]|\d{5}")


class Unlisted(NamedTuple):
    """``kind``: event, field or trait. ``event``: of a field, else empty."""

    kind: str
    event: str
    name: str
    source: str


class _Payload(Struct, gc=False):
    properties: dict[str, Raw] = {}
    traits: dict[str, Raw] = {}


_payload = msgspec.json.Decoder(_Payload)


def unlisted(event: Event, policy: Policy) -> set[Unlisted]:
    """The event where the catalog lacks it, else its fields and traits that it lacks. Of what is nested the
    outermost name."""
    name = catalog_name(event.type, event.name)
    listed = policy.catalog.events.get(name)
    if listed is None:
        return {Unlisted("event", "", _shown(name), event.source)}
    try:
        payload = _payload.decode(event.payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return set()
    is_identify = event.type == "identify"
    fields = {**payload.properties, **({} if is_identify else payload.traits)}
    traits = payload.traits if is_identify else {}
    return {
        *(
            Unlisted("field", name, _shown(field), event.source)
            for field in fields
            if field not in listed.fields
        ),
        *(
            Unlisted("trait", "", _shown(trait), event.source)
            for trait in traits
            if trait not in policy.catalog.traits
        ),
    }


def make_room(
    found: Iterable[Unlisted], held: Mapping[Unlisted, int], since: int, most: int
) -> tuple[list[Unlisted], list[Unlisted]]:
    """Those of ``found`` to note, and those of ``held`` (with the time when they were noted) that leave for
    them.

    Of a source there are at most ``most``. Beyond that a new one takes the place of the oldest, once that has
    stood there since before ``since``: no sender can keep others away for long, nor make them come and go.
    """
    found = list(found)
    noted: list[Unlisted] = []
    leaving: list[Unlisted] = []
    for source in dict.fromkeys(item.source for item in found):
        new = [item for item in found if item.source == source and item not in held]
        own = sorted((first, item) for item, first in held.items() if item.source == source)
        lacking = max(0, len(own) + len(new) - most)
        leave = [item for first, item in own[:lacking] if first < since]
        noted += new[: max(0, most - len(own) + len(leave))]
        leaving += leave
    noted += (item for item in found if item in held and item not in leaving)
    return noted, leaving


def still_unlisted(found: Iterable[Unlisted], policy: Policy) -> Iterator[Unlisted]:
    """Those that the catalog lacks as it is now."""
    catalog = policy.catalog
    for item in found:
        if item.kind == "field":
            event = catalog.events.get(item.event)
            if event is None or item.name in event.fields:
                continue
        elif item.name in (catalog.events if item.kind == "event" else catalog.traits):
            continue
        yield item


def _shown(name: str) -> str:
    is_name = 0 < len(name) <= MAX_NAME and name.isprintable() and not _NO_NAME.search(name)
    return name if is_name else HIDDEN
