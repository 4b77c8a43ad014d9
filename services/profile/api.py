"""HTTP: profiles, where their values come from, their identifiers, links and events."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from services.kernel import codec
from services.kernel.clock import DAY
from services.kernel.events import Event
from services.kernel.http import BEARER, Problem, require
from services.kernel.identifier import HASH_SIZE, Identifier
from services.profile.domain import presentation
from services.profile.flow.showing import Profiles, Shown

READ = [require("profile:read")]
MOST_EVENTS = 500


async def _find(state: State, person: str) -> Shown:
    """Raises Problem 400 for what is no identifier, 404 for one that no profile has."""
    profiles: Profiles = state.profiles
    try:
        id = bytes.fromhex(person) if len(person) == 2 * HASH_SIZE and ":" not in person else None
        if id is None:
            id = state.hasher.of(Identifier.parse(person))
    except ValueError as error:
        raise Problem(
            400, "Bad request", f"profile: {error}, or a profile id of 32 hexadecimal digits"
        ) from None
    shown = await profiles.find(id)
    if shown is None:
        raise Problem(404, "Not found", "no such profile")
    return shown


@get("/v1/profiles/{person:str}", guards=READ, security=BEARER, tags=["profiles"])
async def get_profile(
    state: State, person: FromPath[str], explain: FromQuery[bool] = False
) -> dict[str, Any]:
    """The golden record. `person`: `user_id:…`, `anonymous_id:…` or a profile id; the id of a profile that
    was merged shows the one it became part of. `explain=1` adds per trait its source, event, time and rule,
    and what else was told."""
    profile, record = await _find(state, person)
    answer = presentation.record_shown(record)
    if explain:
        answer["explain"] = presentation.explained(profile.members)
    return answer


@get("/v1/profiles/{person:str}/identifiers", guards=READ, security=BEARER, tags=["profiles"])
async def get_identifiers(state: State, person: FromPath[str]) -> dict[str, Any]:
    """Every identifier of the profile."""
    profile, _ = await _find(state, person)
    return {
        "profile_id": profile.root.hex(),
        "identifiers": presentation.identifiers_shown(profile.root, profile.members),
    }


@get("/v1/profiles/{person:str}/links", guards=READ, security=BEARER, tags=["profiles"])
async def get_links(state: State, person: FromPath[str]) -> dict[str, Any]:
    """The evidence that these identifiers are one person."""
    profile, _ = await _find(state, person)
    return {"profile_id": profile.root.hex(), "links": presentation.links_shown(profile.members)}


@get("/v1/profiles/{person:str}/events", guards=READ, security=BEARER, tags=["profiles"])
async def get_events(
    state: State,
    person: FromPath[str],
    limit: Annotated[int, QueryParameter(ge=1, le=MOST_EVENTS)] = 100,
    until: Annotated[
        int | None, QueryParameter(description="Event time, microseconds since the epoch")
    ] = None,
) -> dict[str, Any]:
    """Applied events by event time, the newest first."""
    profiles: Profiles = state.profiles
    profile, _ = await _find(state, person)
    kept = await profiles.history(profile, state.clock.now() + DAY if until is None else until, limit)
    events = [presentation.event_shown(codec.decode(Event, row.record), row.purposes) for row in kept]
    return {"profile_id": profile.root.hex(), "events": events}


HANDLERS: list[HTTPRouteHandler] = [get_profile, get_identifiers, get_links, get_events]
