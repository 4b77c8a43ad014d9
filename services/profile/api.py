"""HTTP: profiles, where their values come from, their identifiers, links and events."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from litestar import Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from services.kernel import codec
from services.kernel.clock import DAY
from services.kernel.events import Event
from services.kernel.http import BEARER, Problem, note, require
from services.kernel.identifier import HASH_SIZE, Identifier
from services.profile.domain import presentation
from services.profile.flow.showing import Profiles, Shown

READ = [require("profile:read")]
MOST_EVENTS = 500


Call: TypeAlias = Request[Any, Any, Any]


async def _find(request: Call, state: State, person: str) -> Shown:
    """The profile, once the audit log has it that it is given out.

    Raises Problem 400 for what is no identifier, 404 for one that no profile has.
    """
    profiles: Profiles = state.profiles
    try:
        named = Identifier.parse(person) if ":" in person or len(person) != 2 * HASH_SIZE else None
        id = bytes.fromhex(person) if named is None else state.hasher.of(named)
    except ValueError as error:
        raise Problem(
            400, "Bad request", f"profile: {error}, or a profile id of 32 hexadecimal digits"
        ) from None
    shown = await profiles.find(id)
    await note(
        request,
        profiles={shown.profile.root} if shown else (),
        identifiers={id} if shown is None or id != shown.profile.root else (),
        people=1 if shown else 0,
    )
    if shown is None:
        raise Problem(404, "Not found", "no such profile")
    return shown


@get("/v1/profiles/{person:str}", name="profile.read", guards=READ, security=BEARER, tags=["profiles"])
async def get_profile(
    request: Call, state: State, person: FromPath[str], explain: FromQuery[bool] = False
) -> dict[str, Any]:
    """The golden record. `person`: `user_id:…`, `anonymous_id:…` or a profile id; the id of a profile that
    was merged shows the one it became part of. `explain=1` adds per trait its source, event, time and rule,
    and what else was told."""
    profile, record = await _find(request, state, person)
    answer = presentation.record_shown(record)
    if explain:
        answer["explain"] = presentation.explained(profile.members)
    return answer


@get(
    "/v1/profiles/{person:str}/identifiers",
    name="profile.identifiers",
    guards=READ,
    security=BEARER,
    tags=["profiles"],
)
async def get_identifiers(request: Call, state: State, person: FromPath[str]) -> dict[str, Any]:
    """Every identifier of the profile."""
    profile, _ = await _find(request, state, person)
    return {
        "profile_id": profile.root.hex(),
        "identifiers": presentation.identifiers_shown(profile.root, profile.members),
    }


@get("/v1/profiles/{person:str}/links", name="profile.links", guards=READ, security=BEARER, tags=["profiles"])
async def get_links(request: Call, state: State, person: FromPath[str]) -> dict[str, Any]:
    """The evidence that these identifiers are one person."""
    profile, _ = await _find(request, state, person)
    return {"profile_id": profile.root.hex(), "links": presentation.links_shown(profile.members)}


@get(
    "/v1/profiles/{person:str}/events", name="profile.events", guards=READ, security=BEARER, tags=["profiles"]
)
async def get_events(
    request: Call,
    state: State,
    person: FromPath[str],
    limit: Annotated[int, QueryParameter(ge=1, le=MOST_EVENTS)] = 100,
    until: Annotated[
        int | None, QueryParameter(description="Event time, microseconds since the epoch")
    ] = None,
) -> dict[str, Any]:
    """Applied events by event time, the newest first."""
    profiles: Profiles = state.profiles
    profile, _ = await _find(request, state, person)
    kept = await profiles.history(profile, state.clock.now() + DAY if until is None else until, limit)
    events = [presentation.event_shown(codec.decode(Event, row.record), row.purposes) for row in kept]
    return {"profile_id": profile.root.hex(), "events": events}


HANDLERS: list[HTTPRouteHandler] = [get_profile, get_identifiers, get_links, get_events]
