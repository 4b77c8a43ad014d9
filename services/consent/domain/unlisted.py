"""What stands in events and not in the policy's catalog. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
