"""A facet: what is known through one identifier, the unit that is locked, read and written.

A facet is packed with msgpack. :class:`Facet` unpacks lazily: a batch pays only for the traits, activities
and links that its events touch. :class:`Known` is the same bytes unpacked whole, which is what a fold needs.
Everything in a facet is a function of the set of its events: no field depends on the order of arrival.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from services.kernel.identifier import Identifier
from services.profile.domain.observation import EXACT, Link, Observation

HOUR = 3_600_000_000
DAY = 24 * HOUR
HOURS_KEPT = 32 * 24
"""Hour buckets are kept for windows of up to 31 days and one day of slack."""

Moment: TypeAlias = tuple[int, str]
"""Event time and message id: the order in which things happened."""
Fact: TypeAlias = tuple[int, str, bytes]
"""A moment and the JSON text of what was said then."""
Span: TypeAlias = tuple[Fact, Fact]
"""What one source said of a field first and last."""
Sighting: TypeAlias = tuple[int, str, int, str]
"""First and last moment at which a source showed a link."""
Stay: TypeAlias = tuple[bool, int, str, str]
"""Whether an event declared it, its moment, and where the person was then. The greatest one counts: what
sources say of all their events never outranks what an event says of itself."""
Claim: TypeAlias = tuple[int, str, str, bytes]
"""Evidence that a parent has for a child: event time, message id, source, parent. The least one wins.

Parents are all of one kind; a second kind of parent would put the kind's priority first.
"""


class Activity(Struct, array_like=True, gc=False):
    """How often something happened and when; ``hours`` and ``days`` count by whole UTC hours and days."""

    count: int
    first_at: int
    last_at: int
    hours: dict[int, int]
    days: dict[int, int]
    sums: dict[str, Decimal]


class Facet(Struct, array_like=True, gc=False):
    """The working form. ``claim``: of a child, the evidence that gave it its parent.

    ``traits`` holds spans by source, ``links`` sightings by source, both packed until touched.
    ``events`` 0 and ``last_at`` 0: known only as a child or a previous id. ``stay``: the greatest one.
    """

    kind: str
    value: str
    events: int
    first_at: int
    last_at: int
    received_at: int
    claim: Claim | None
    traits: dict[str, Raw]
    activity: dict[str, Raw]
    links: dict[bytes, Raw]
    stay: Stay | None = None

    @classmethod
    def new(cls, identifier: Identifier) -> Facet:
        return cls(identifier.kind, identifier.value, 0, 0, 0, 0, None, {}, {}, {})

    def apply(self, seen: Observation) -> list[tuple[Link, bool]]:
        """Take in one event of this facet. Returns the links whose earliest evidence it now is, each with
        whether its source shows it for the first time."""
        at = seen.at
        self.first_at = min(self.first_at, at) if self.events else at
        self.last_at = max(self.last_at, at) if self.events else at
        self.received_at = max(self.received_at, seen.received_at)
        self.events += 1
        for name, text in seen.traits.items():
            self._tell(name, seen.source, (at, seen.message_id, text))
        if seen.place is not None:
            stay = (seen.declared, at, seen.message_id, seen.place)
            self.stay = stay if self.stay is None else max(self.stay, stay)
        if seen.activity is not None:
            self._count(seen.activity, at, seen.amounts)
        return [(link, new) for link in seen.links if (new := self._see(link.child, seen)) is not None]

    def pack(self) -> bytes:
        return _encode(self)

    def _tell(self, name: str, source: str, fact: Fact) -> None:
        spans = _unpacked(self.traits, name, _SPANS)
        span = spans.get(source)
        if span is None:
            spans[source] = (fact, fact)
        elif fact < span[0]:
            spans[source] = (fact, span[1])
        elif fact > span[1]:
            spans[source] = (span[0], fact)

    def _count(self, name: str, at: int, amounts: dict[str, Decimal]) -> None:
        if name not in self.activity:
            self.activity[name] = cast(Raw, Activity(0, at, at, {}, {}, {}))
        activity = _unpacked(self.activity, name, _ACTIVITY)
        activity.count += 1
        activity.first_at = min(activity.first_at, at)
        activity.last_at = max(activity.last_at, at)
        hour, day = at // HOUR, at // DAY
        activity.days[day] = activity.days.get(day, 0) + 1
        newest = self.last_at // HOUR
        if hour > newest - HOURS_KEPT:
            activity.hours[hour] = activity.hours.get(hour, 0) + 1
        if len(activity.hours) > HOURS_KEPT:
            activity.hours = {h: n for h, n in activity.hours.items() if h > newest - HOURS_KEPT}
        for field, amount in amounts.items():
            total = activity.sums.get(field)
            activity.sums[field] = amount if total is None else EXACT.add(total, amount)

    def _see(self, child: bytes, seen: Observation) -> bool | None:
        """Note a sighting. None unless it is the source's earliest; else whether it is its first."""
        sightings = _unpacked(self.links, child, _SIGHTINGS)
        moment = (seen.at, seen.message_id)
        known = sightings.get(seen.source)
        if known is None:
            sightings[seen.source] = moment + moment
            return True
        if moment < known[:2]:
            sightings[seen.source] = moment + known[2:]
            return False
        if moment > known[2:]:
            sightings[seen.source] = known[:2] + moment
        return None


class Known(Struct, array_like=True, frozen=True, gc=False):
    """A facet unpacked whole; fields as in :class:`Facet`."""

    kind: str
    value: str
    events: int
    first_at: int
    last_at: int
    received_at: int
    claim: Claim | None
    traits: dict[str, dict[str, Span]]
    activity: dict[str, Activity]
    links: dict[bytes, dict[str, Sighting]]
    stay: Stay | None = None


_encode = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Facet).decode
"""The working form of a packed facet."""
unpack_whole = msgspec.msgpack.Decoder(Known).decode
"""All of a packed facet."""

_SPANS = msgspec.msgpack.Decoder(dict[str, Span])
_ACTIVITY = msgspec.msgpack.Decoder(Activity)
_SIGHTINGS = msgspec.msgpack.Decoder(dict[str, Sighting])

K = TypeVar("K")
V = TypeVar("V")


def _unpacked(section: dict[K, Raw], key: K, decoder: msgspec.msgpack.Decoder[V]) -> V:
    """The entry of a section, unpacked and put in its place; an empty one where there is none."""
    entry = section.get(key)
    if entry is None:
        value = cast(V, {})
    elif isinstance(entry, Raw):
        value = decoder.decode(entry)
    else:
        return entry
    section[key] = cast(Raw, value)
    return value
