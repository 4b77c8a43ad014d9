"""HTTP: what people may ask for, and how far it is."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from litestar import get, post
from litestar.datastructures import State
from litestar.params import FromPath, JSONBody

from services.consent.asking import (
    Asking,
    Call,
    asking_of,
    declared_place,
    identifiers_of,
    log_asked,
    may_see,
    person_of,
)
from services.consent.domain.request_rights import DONE, FAILED, RECTIFICATION, STEPS, request_shown
from services.consent.flow.privacy import Requests
from services.consent.flow.visitors import KEY, Proven
from services.kernel import limits
from services.kernel.http import BEARER, RETRY_SECONDS, Problem, actor_of, bearer, note, require
from services.kernel.internal import Neighbours
from services.kernel.outcome import BadRecord, Outage
from services.kernel.policy import Policy

Body: TypeAlias = JSONBody[dict[str, Any]]

MAX_BODY_BYTES = 64_000


@post(
    "/v1/privacy/requests",
    name="privacy.request",
    status_code=202,
    security=BEARER,
    tags=["people"],
    request_max_body_size=MAX_BODY_BYTES,
)
async def make_request(request: Call, state: State, data: Body) -> dict[str, Any]:
    """Ask for `{"type": "access" | "erasure" | "rectification" | "restriction"}`, with `traits` for a
    rectification, and `jurisdiction`, which sets when it is due. Of an erasure and a restriction the denial
    holds when this is answered; what is left to do stands in the answer's `steps`.

    A person comes with `Authorization: Visitor …` or `Link …`; a key needs the scope privacy:write and names
    the person in `identifiers`, whose identity you have checked.
    """
    asking = await _asked_for(request, state, data)
    type = data.get("type")
    if not isinstance(type, str) or type not in STEPS:
        raise Problem(400, "Bad request", f"type: expected one of {', '.join(STEPS)}")
    traits = _traits(data, state) if type == RECTIFICATION else None
    await log_asked(request, asking, asking.named, target=type)
    requests: Requests = state.requests
    policy: Policy = state.policies.current
    regime = policy.regime(declared_place(data.get("jurisdiction")))
    try:
        opened = await requests.open(type, asking.proven.how, asking.named, regime)
        if traits is not None:
            await _rectify(state, asking, opened.id, traits)
    except (TimeoutError, Outage):
        raise Problem(
            503, "Not acknowledged yet", "ask again", headers={"Retry-After": str(RETRY_SECONDS)}
        ) from None
    found = await requests.find(opened.id)
    return request_shown(found or opened, state.topics)


@get("/v1/privacy/requests/{id:str}", name="privacy.read", security=BEARER, tags=["people"])
async def show_request(request: Call, state: State, id: FromPath[str]) -> dict[str, Any]:
    """How far a request is: by when it is due, what each service did, and what of an erased person still
    stands where, until when."""
    asking = await person_of(request, state)
    if asking is None:
        await require("privacy:read")(request, request.route_handler)
        await note(request, target=id)
    else:
        await log_asked(request, asking, asking.named, target=id)
    requests: Requests = state.requests
    found = await requests.find(id)
    if found is None or (asking is not None and not _is_theirs(asking, found.how, found.named)):
        raise Problem(404, "Not found", "no such request")
    return request_shown(found, state.topics)


HANDLERS = [make_request, show_request]


async def _asked_for(request: Call, state: State, data: dict[str, Any]) -> Asking:
    """For whom the request is made. Raises Problem."""
    asking = await person_of(request, state)
    if asking is not None:
        return asking
    bearer(request)
    await require("privacy:write")(request, request.route_handler)
    return asking_of(actor_of(request), Proven(KEY, identifiers_of(data, state)), state)


def _traits(data: dict[str, Any], state: State) -> dict[str, Any]:
    """The traits to put right, bounded and cleaned as at ingest. Raises Problem."""
    traits = data.get("traits")
    if not isinstance(traits, dict) or not traits:
        raise Problem(400, "Bad request", 'traits: expected an object such as {"city": "Berlin"}')
    raw = msgspec.json.encode({"traits": traits})
    try:
        limits.check(raw, harmless=False)
        cleaned, _ = state.cleaner.clean(raw)
    except BadRecord as error:
        raise Problem(400, "Bad request", f"{error.reason}: {error.detail}") from None
    kept: dict[str, Any] = msgspec.json.decode(cleaned)["traits"]
    return kept


async def _rectify(state: State, asking: Asking, id: str, traits: dict[str, Any]) -> None:
    """Have the profile service put traits right; what they are is kept nowhere else. Raises Outage."""
    requests: Requests = state.requests
    neighbours: Neighbours = state.neighbours
    asked = {"id": id, "identifiers": sorted(map(str, asking.proven.identifiers)), "traits": traits}
    try:
        done = await neighbours.ask("profile", "/v1/privacy/rectification", asked, asking.actor)
    except Outage:
        await requests.settle(id, "profile", FAILED, detail="not reached: ask again")
        raise
    if done is None:
        await requests.settle(id, "profile", FAILED, detail="no such profile")
    else:
        await requests.settle(id, "profile", DONE, {"traits": len(traits)})


def _is_theirs(asking: Asking, how: str, named: frozenset[bytes]) -> bool:
    return may_see(asking, how) and not named.isdisjoint(asking.named)
