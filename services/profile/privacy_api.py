"""HTTP for the consent service, which asks for people: whom identifiers reach, their copy, rectifications."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Struct

from services.kernel import codec
from services.kernel.events import Event
from services.kernel.http import BEARER, Problem, note, require
from services.kernel.identifier import HASH_SIZE, Identifier
from services.kernel.internal import SCOPE
from services.profile.api import Call
from services.profile.domain.copy import event_values, facet_values
from services.profile.domain.golden import Member, fold
from services.profile.flow.rectifying import Rectifying
from services.profile.flow.showing import Profiles

INTERNAL = [require(SCOPE)]
EVENTS_AT_ONCE = 1_000
_START = (-(1 << 62), -2, -1)
"""Before every event."""


class Named(Struct):
    """Identifier hashes in hexadecimal."""

    identifiers: list[str]


class Copied(Named):
    """``whole``: all of the profiles they belong to, else what came under these very identifiers. ``after``:
    the ``next`` of the page before."""

    whole: bool = True
    after: tuple[int, int, int] | None = None


class Rectified(Struct):
    """``id``: of the request. ``identifiers``: as ``kind:value``."""

    id: str
    identifiers: list[str]
    traits: dict[str, Any]


def _hashes(named: Named) -> set[bytes]:
    try:
        found = {bytes.fromhex(id) for id in named.identifiers}
    except ValueError:
        found = {b""}
    if any(len(id) != HASH_SIZE for id in found):
        raise Problem(400, "Bad request", "identifiers: expected hashes of 32 hexadecimal digits")
    return found


def _read(data: dict[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise Problem(400, "Bad request", str(error)) from None


@post(
    "/v1/privacy/person",
    name="privacy.person",
    status_code=200,
    guards=INTERNAL,
    security=BEARER,
    tags=["privacy"],
)
async def person(request: Call, state: State, data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
    """All identifiers of the people that `identifiers` (hashes) belong to, as hashes, once everything judged
    by decisions before this call is written."""
    named = _hashes(_read(data, Named))
    await note(request, identifiers=named, people=1)
    profiles: Profiles = state.profiles
    await profiles.settled()
    found = await profiles.whole(named)
    return {"identifiers": sorted(member.id.hex() for profile in found for member in profile.members)}


@post(
    "/v1/privacy/copy",
    name="privacy.copy",
    status_code=200,
    guards=INTERNAL,
    security=BEARER,
    tags=["privacy"],
)
async def copy(request: Call, state: State, data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
    """Every value that is kept of `identifiers` (hashes): with `whole` all of their profiles, else what came
    under these very identifiers. In pages: give `next` as `after` until it is null. `profiles`: ids of
    profiles that consist of nothing else."""
    asked: Copied = _read(data, Copied)
    named = _hashes(asked)
    await note(request, identifiers=named, people=1)
    profiles: Profiles = state.profiles
    members: list[Member] = []
    values: list[dict[str, Any]] = []
    shown: list[str] = []
    for profile in await profiles.whole(named):
        own = [member for member in profile.members if asked.whole or member.id in named]
        members += own
        if len(own) == len(profile.members):
            shown.append(profile.root.hex())
        if asked.after is None:
            values += facet_values(own, fold(profile.root, own, profiles.purposes(own), 0))
    place = _START if asked.after is None else asked.after
    kept = await profiles.events_after({member.id for member in members}, place, EVENTS_AT_ONCE)
    values += event_values((codec.decode(Event, row.record), row.purposes) for row in kept)
    last = kept[-1] if len(kept) == EVENTS_AT_ONCE else None
    following = None if last is None else (last.at, last.partition, last.offset)
    return {"values": values, "profiles": shown, "next": following}


@post(
    "/v1/privacy/rectification",
    name="privacy.rectify",
    status_code=200,
    guards=INTERNAL,
    security=BEARER,
    tags=["privacy"],
)
async def rectify(request: Call, state: State, data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
    """Put a person's `traits` right; null removes one. It counts as told now, and is kept as an event."""
    asked: Rectified = _read(data, Rectified)
    try:
        identifiers = [Identifier.parse(text) for text in asked.identifiers]
    except ValueError as error:
        raise Problem(400, "Bad request", f"identifiers: {error}") from None
    await note(request, identifiers=set(map(state.hasher.of, identifiers)), target=asked.id, people=1)
    rectifying: Rectifying = state.rectifying
    if not await rectifying.apply(asked.id, identifiers, asked.traits):
        raise Problem(404, "Not found", "no such profile")
    return {"traits": len(asked.traits)}


HANDLERS: list[HTTPRouteHandler] = [person, copy, rectify]
