"""HTTP for people: their choices, receipts and copy, and what they may ask for."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import msgspec
from litestar import MediaType, Request, get, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.response import Response

from services.consent.domain.copy import page
from services.consent.domain.presentation import choices_shown, receipt_line, time_shown
from services.consent.domain.receipt import receipt
from services.consent.domain.request import Invalid, read_identifiers
from services.consent.domain.request_rights import DONE, FAILED, RECTIFICATION, STEPS, request_shown
from services.consent.domain.visitor import Unproven, anonymous
from services.consent.flow.copying import copy_of, decisions_of
from services.consent.flow.privacy import Requests
from services.consent.flow.reading import in_force
from services.consent.flow.visitors import KEY, SCHEMES, VISITOR, Proven, Visitors
from services.kernel import topics
from services.kernel.audit import Actor, Audit
from services.kernel.clock import DAY
from services.kernel.http import (
    BEARER,
    RETRY_SECONDS,
    Problem,
    action_of,
    actor_of,
    bearer,
    note,
    reason_of,
    require,
)
from services.kernel.identifier import Hasher, Identifier
from services.kernel.internal import Neighbours
from services.kernel.outcome import BadRecord, Outage
from services.kernel.policy import Policy

Call: TypeAlias = Request[Any, Any, Any]
Body: TypeAlias = JSONBody[dict[str, Any]]

MAX_BODY_BYTES = 64_000
MOST_DAYS = 90
"""Of a link."""
LINK_DAYS = 7
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_UNPROVEN = {401: ResponseSpec(dict[str, Any], description="No proof of being that person.")}


class Asking(NamedTuple):
    """Who asks for whom. ``how``: visitor, link or key; ``named``: hashes of the proven identifiers."""

    actor: Actor
    proven: Proven
    named: frozenset[bytes]


async def person_of(request: Call, state: State) -> Asking | None:
    """The person of ``Authorization: Visitor …`` or ``Link …``, None for others. Raises Problem 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in SCHEMES:
        return None
    visitors: Visitors = state.visitors
    try:
        proven = await visitors.prove(scheme.lower(), token.strip())
    except Unproven as error:
        raise Problem(
            401, "Unauthorized", str(error), headers={"WWW-Authenticate": "Bearer, Visitor, Link"}
        ) from None
    return _asking(Actor(None, proven.how, reason_of(request)), proven, state)


def _asking(actor: Actor, proven: Proven, state: State) -> Asking:
    hasher: Hasher = state.hasher
    return Asking(actor, proven, frozenset(map(hasher.of, proven.identifiers)))


async def _person(request: Call, state: State) -> Asking:
    """Raises Problem 401 for anybody else."""
    asking = await person_of(request, state)
    if asking is None:
        raise Problem(
            401,
            "Unauthorized",
            "expected Authorization: Visitor base64url(anonymous_id).secret, or Link TOKEN",
            headers={"WWW-Authenticate": "Bearer, Visitor, Link"},
        )
    return asking


async def _log(request: Call, asking: Asking, named: frozenset[bytes], *, target: str = "") -> None:
    """Log what this request is about to do for a person."""
    audit: Audit = request.app.state.audit
    await audit.note(
        asking.actor, action_of(request), target=target, identifiers=named, people=1 if named else 0
    )


@post(
    "/v1/visitors",
    status_code=204,
    tags=["people"],
    request_max_body_size=MAX_BODY_BYTES,
    responses={
        401: ResponseSpec(dict[str, Any], description="No live key."),
        409: ResponseSpec(dict[str, Any], description="The anonymous_id has another secret."),
    },
)
async def claim(state: State, data: Body) -> None:
    """Claim an anonymous_id: `{"writeKey": "…", "anonymous_id": "…", "secret": "64 hexadecimal digits"}`. The
    first secret stands; who has it sees and erases what came under that anonymous_id, and nothing else."""
    token = data.get("writeKey")
    if not isinstance(token, str) or state.keyring.bearer(token) is None:
        raise Problem(
            401, "Unauthorized", "writeKey: a live key is needed", headers={"WWW-Authenticate": "Bearer"}
        )
    visitors: Visitors = state.visitors
    try:
        stands = await visitors.claim(anonymous(data.get("anonymous_id")), data.get("secret"))
    except Unproven as error:
        raise Problem(400, "Bad request", str(error)) from None
    if not stands:
        raise Problem(409, "Conflict", "anonymous_id: it has another secret")


@post(
    "/v1/privacy/links",
    name="privacy.link",
    status_code=200,
    guards=[require("privacy:write")],
    security=BEARER,
    tags=["people"],
    request_max_body_size=MAX_BODY_BYTES,
)
async def make_link(request: Call, state: State, data: Body) -> dict[str, Any]:
    """A link for a person whom you know, such as in an e-mail: `{"identifiers": {"user_id": "…"}, "days": 7,
    "language": "de"}`. Who has it sees, corrects and erases everything of that person until it ends."""
    days, language = data.get("days", LINK_DAYS), data.get("language")
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= MOST_DAYS:
        raise Problem(400, "Bad request", f"days: expected a number from 1 to {MOST_DAYS}")
    if language is not None and not (isinstance(language, str) and LANGUAGE.fullmatch(language)):
        raise Problem(400, "Bad request", "language: expected a tag such as de or pt-BR")
    named = _identifiers(data, state)
    await note(request, identifiers=set(map(state.hasher.of, named)))
    expires_at = state.clock.now() + days * DAY
    visitors: Visitors = state.visitors
    token = visitors.link(named, expires_at)
    rest = f"&language={language}" if language else ""
    return {
        "url": f"{str(request.base_url).rstrip('/')}/preferences#link={token}{rest}",
        "token": token,
        "expires_at": time_shown(expires_at),
    }


@get("/v1/me", name="me.read", tags=["people"], responses=_UNPROVEN)
async def me(request: Call, state: State) -> Response[dict[str, Any]]:
    """What holds for the person who asks, the receipts of their decisions, and what they asked for."""
    asking = await _person(request, state)
    requests: Requests = state.requests
    person = await requests.person(asking.proven.how, asking.named, asking.actor)
    await _log(request, asking, person)
    policy: Policy = state.policies.current
    held = [await in_force(state.pool, id) for id in sorted(asking.named)]
    now = state.clock.now()
    asked = [one for one in await requests.of(person) if _may_see(asking, one.how)]
    shown = {
        "identifiers": sorted(map(str, asking.proven.identifiers)),
        "regime": policy.regime(None),
        "gpc": any(own.gpc for own in held),
        "choices": choices_shown(held, now, policy.purposes, policy.default(None), policy.regime(None)),
        "receipts": [receipt_line(row) for row in await decisions_of(state.pool, person)],
        "requests": [request_shown(one, _topics()) for one in asked],
    }
    return Response(shown, headers=PRIVATE)


@get(
    "/v1/me/receipts/{position:int}",
    name="me.receipt",
    tags=["people"],
    responses=_UNPROVEN | {404: ResponseSpec(dict[str, Any], description="No such decision of theirs.")},
)
async def me_receipt(request: Call, state: State, position: FromPath[int]) -> Response[dict[str, Any]]:
    """The receipt of a decision, in the form of ISO/IEC TS 27560, to keep."""
    asking = await _person(request, state)
    requests: Requests = state.requests
    person = await requests.person(asking.proven.how, asking.named, asking.actor)
    await _log(request, asking, person, target=str(position))
    rows = [row for row in await decisions_of(state.pool, person) if row.position == position]
    if not rows:
        raise Problem(404, "Not found", "no such decision of this person")
    policy: Policy = state.policies.current
    names = sorted(map(str, asking.proven.identifiers))
    controller = msgspec.to_builtins(policy.controller)
    purposes = {id: text.description for id, text in policy.texts[policy.language(None)].purposes.items()}
    made = receipt(rows[0], names, controller, purposes, state.clock.now())
    return Response(made, headers=_download(f"receipt-{position}.json"))


@get("/v1/me/copy", name="me.copy", tags=["people"], responses=_UNPROVEN)
async def me_copy(request: Call, state: State) -> Response[dict[str, Any]]:
    """Everything that is held of the person who asks: every value with source, time and purposes, from every
    service."""
    return Response(await _copy(request, state), headers=_download("my-data.json"))


@get("/v1/me/copy.html", name="me.copy_html", media_type=MediaType.HTML, tags=["people"], responses=_UNPROVEN)
async def me_copy_page(request: Call, state: State) -> Response[str]:
    """The same as a page to read."""
    made = page(await _copy(request, state))
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(made, media_type=MediaType.HTML, headers=_download("my-data.html") | policy)


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
    rectification. Of an erasure and a restriction the denial holds when this is answered; what is left to do
    stands in the answer's `steps`.

    A person comes with `Authorization: Visitor …` or `Link …`; a key needs the scope privacy:write and names
    the person in `identifiers`, whose identity you have checked.
    """
    asking = await _asked_for(request, state, data)
    type = data.get("type")
    if not isinstance(type, str) or type not in STEPS:
        raise Problem(400, "Bad request", f"type: expected one of {', '.join(STEPS)}")
    traits = _traits(data, state) if type == RECTIFICATION else None
    await _log(request, asking, asking.named, target=type)
    requests: Requests = state.requests
    policy: Policy = state.policies.current
    try:
        opened = await requests.open(type, asking.proven.how, asking.named, policy.regime(None))
        if traits is not None:
            await _rectify(state, asking, opened.id, traits)
    except (TimeoutError, Outage):
        raise Problem(
            503, "Not acknowledged yet", "ask again", headers={"Retry-After": str(RETRY_SECONDS)}
        ) from None
    found = await requests.find(opened.id)
    return request_shown(found or opened, _topics())


@get("/v1/privacy/requests/{id:str}", name="privacy.read", security=BEARER, tags=["people"])
async def show_request(request: Call, state: State, id: FromPath[str]) -> dict[str, Any]:
    """How far a request is: by when it is due, what each service did, and what of an erased person still
    stands where, until when."""
    asking = await person_of(request, state)
    if asking is None:
        await require("privacy:read")(request, request.route_handler)
        await note(request, target=id)
    else:
        await _log(request, asking, asking.named, target=id)
    requests: Requests = state.requests
    found = await requests.find(id)
    if found is None or (asking is not None and not _is_theirs(asking, found.how, found.named)):
        raise Problem(404, "Not found", "no such request")
    return request_shown(found, _topics())


HANDLERS = [claim, make_link, me, me_receipt, me_copy, me_copy_page, make_request, show_request]


async def _copy(request: Call, state: State) -> dict[str, Any]:
    asking = await _person(request, state)
    requests: Requests = state.requests
    neighbours: Neighbours = state.neighbours
    person = await requests.person(asking.proven.how, asking.named, asking.actor)
    await _log(request, asking, person)
    return await copy_of(state.pool, neighbours, asking.proven, person, asking.actor, state.clock)


async def _asked_for(request: Call, state: State, data: dict[str, Any]) -> Asking:
    """For whom the request is made. Raises Problem."""
    asking = await person_of(request, state)
    if asking is not None:
        return asking
    bearer(request)
    await require("privacy:write")(request, request.route_handler)
    return _asking(actor_of(request), Proven(KEY, _identifiers(data, state)), state)


def _identifiers(data: dict[str, Any], state: State) -> frozenset[Identifier]:
    try:
        return read_identifiers(data, state.cleaner)
    except Invalid as error:
        raise Problem(400, "Bad request", state.cleaner.text(str(error))[0]) from None


def _traits(data: dict[str, Any], state: State) -> dict[str, Any]:
    """The traits to put right, cleaned as at ingest. Raises Problem."""
    traits = data.get("traits")
    if not isinstance(traits, dict) or not traits:
        raise Problem(400, "Bad request", 'traits: expected an object such as {"city": "Berlin"}')
    try:
        cleaned, _ = state.cleaner.clean(msgspec.json.encode({"traits": traits}))
    except BadRecord:
        raise Problem(400, "Bad request", "traits: too deep to be searched for card data") from None
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


def _may_see(asking: Asking, how: str) -> bool:
    """A visitor sees nothing of what the whole person asked for elsewhere."""
    return asking.proven.how != VISITOR or how == VISITOR


def _is_theirs(asking: Asking, how: str, named: frozenset[bytes]) -> bool:
    return _may_see(asking, how) and not named.isdisjoint(asking.named)


def _download(name: str) -> dict[str, str]:
    return PRIVATE | {"Content-Disposition": f'attachment; filename="{name}"'}


@cache
def _topics() -> dict[str, dict[str, Any]]:
    return {name: topic.config for name, topic in topics.registry().items()}
