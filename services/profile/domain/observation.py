"""What one event says: about the facet of its routing id, and about which identifiers are one person."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from services.kernel.events import Event
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher, Identifier, is_blocked, normalise
from services.kernel.outcome import BadRecord
from services.kernel.policy.model import catalog_name

SUMMED = ("revenue", "total", "value")
"""Properties of which golden records keep sums."""
MAX_DIGITS = 30
"""A number of 10^30 or more, or with more than 30 decimals, is no amount: it is not summed."""
EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
"""Arithmetic of sums: enough digits for 2^63 amounts, an error rather than a rounded result."""

_CACHED = 50_000
"""Values remembered: most events are of few people, and hashing and matching take 4 µs an event."""


class Link(Struct, frozen=True, gc=False):
    """An event shows that ``identifier`` (the child) is of the person whose facet it belongs to."""

    child: bytes
    identifier: Identifier


class Observation(Struct, frozen=True, gc=False):
    """What one event says. ``facet``: hash of ``identifier``, the routing id; times in µs.

    ``traits``: JSON text by name, ``null`` removes; one that readers could not decode, such as 1e999, is left
    out and changes nothing. ``activity``: what the event counts under, if anything. ``place``: where the
    person is, ``declared`` by the event itself or by its source's policy. ``name``: the event's in the
    policy's catalog.
    """

    facet: bytes
    identifier: Identifier
    source: str
    message_id: str
    at: int
    received_at: int
    traits: dict[str, bytes]
    activity: str | None
    amounts: dict[str, Decimal]
    links: tuple[Link, ...]
    place: str | None
    declared: bool
    name: str


def observe(event: Event, hasher: Hasher) -> Observation:
    """Raises BadRecord: "no_identifier", "no_event_name", "bad_payload"."""
    facet, identifier, links = _identify(event, hasher)
    traits: dict[str, bytes] = {}
    amounts: dict[str, Decimal] = {}
    activity = None
    try:
        if event.type == "track":
            if not event.name:
                raise BadRecord("no_event_name", "name")
            activity = event.name
            properties = _TRACK.decode(event.payload).properties
            if properties is not None:
                amounts = _amounts(properties)
        elif event.type == "identify":
            told = _IDENTIFY.decode(event.payload).traits or {}
            traits = {name: bytes(value) for name, value in told.items() if _can_be_read(value)}
        elif event.type in ("page", "screen"):
            activity = f"${event.type}"
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRecord("bad_payload", type(error).__name__) from None
    return Observation(
        facet,
        identifier,
        event.source,
        event.message_id,
        event.timestamp,
        event.received_at,
        traits,
        activity,
        amounts,
        links,
        event.place,
        event.place_declared,
        catalog_name(event.type, event.name),
    )


def _identify(event: Event, hasher: Hasher) -> tuple[bytes, Identifier, tuple[Link, ...]]:
    """The routing identifier with its hash, and the links that the event shows.

    Only a user_id can be a parent. What an alias calls its previous id may be of either kind.
    """
    user = normalise(event.user_id) if event.user_id else ""
    anonymous = normalise(event.anonymous_id) if event.anonymous_id else ""
    if not user:
        if not anonymous:
            raise BadRecord("no_identifier", "user_id or anonymous_id")
        return *_hashed(hasher, ANONYMOUS_ID, anonymous), ()
    children: list[tuple[str, str]] = []
    if anonymous:
        children.append((ANONYMOUS_ID, anonymous))
    previous = normalise(event.previous_id) if event.type == "alias" and event.previous_id else ""
    if previous and previous != user:
        children.append((USER_ID, previous))
        if previous != anonymous:
            children.append((ANONYMOUS_ID, previous))
    if children and is_blocked(user):
        children = []
    links = tuple(Link(*_hashed(hasher, kind, value)) for kind, value in children if not is_blocked(value))
    return *_hashed(hasher, USER_ID, user), links


@lru_cache(maxsize=_CACHED)
def _hashed(hasher: Hasher, kind: str, value: str) -> tuple[bytes, Identifier]:
    return hasher(kind, value), Identifier(kind, value)


class _Amounts(Struct, gc=False):
    revenue: Any = None
    total: Any = None
    value: Any = None


class _Track(Struct, gc=False):
    properties: _Amounts | None = None


class _Identify(Struct, gc=False):
    traits: dict[str, Raw] | None = None


_TRACK = msgspec.json.Decoder(_Track, float_hook=Decimal)
_IDENTIFY = msgspec.json.Decoder(_Identify)


def _can_be_read(json: Raw) -> bool:
    """Whether the text, whose form alone was looked at so far, has a value: no number beyond a double or of
    more than 4,300 digits, no broken UTF-8. Decoding takes 0.3 µs, less than to look for what could fail."""
    try:
        msgspec.json.decode(json)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _amounts(properties: _Amounts) -> dict[str, Decimal]:
    amounts = {}
    for name in SUMMED:
        value = getattr(properties, name)
        if value is not None and (amount := _amount(value)) is not None:
            amounts[name] = amount
    return amounts


def _amount(value: Any) -> Decimal | None:
    """The value as an exact decimal, None when it is no number that can be summed."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    if not number:
        return Decimal(0)
    _, digits, exponent = number.as_tuple()
    if int(exponent) < -MAX_DIGITS or len(digits) + int(exponent) > MAX_DIGITS:
        return None
    return number
