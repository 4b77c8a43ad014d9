"""HTTP for people: their choices, receipts and copy, and how they show who they are."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import MediaType, get, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from services.consent.asking import Call, declared_place, identifiers_of, log_asked, may_see, proven
from services.consent.domain.copy import page
from services.consent.domain.presentation import choices_shown, place_of, receipt_line, time_shown
from services.consent.domain.receipt import receipt
from services.consent.domain.request_rights import request_shown
from services.consent.domain.visitor import Unproven, anonymous
from services.consent.flow.copying import copy_of, decisions_of
from services.consent.flow.privacy import Requests
from services.consent.flow.reading import in_force
from services.consent.flow.visitors import Visitors
from services.kernel.clock import DAY
from services.kernel.http import BEARER, RETRY_SECONDS, Problem, note, require
from services.kernel.internal import Neighbours
from services.kernel.policy import Policy

Body: TypeAlias = JSONBody[dict[str, Any]]

MAX_BODY_BYTES = 64_000
MOST_DAYS = 90
"""Of a link."""
LINK_DAYS = 7
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_UNPROVEN = {401: ResponseSpec(dict[str, Any], description="No proof of being that person.")}


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
    named = identifiers_of(data, state)
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
async def me(
    request: Call,
    state: State,
    jurisdiction: Annotated[
        str | None,
        QueryParameter(description="Where the person is; else as they said with their newest decision"),
    ] = None,
) -> Response[dict[str, Any]]:
    """What holds for the person who asks, the receipts of their decisions, and what they asked for."""
    declared = declared_place(jurisdiction)
    asking = await proven(request, state)
    requests: Requests = state.requests
    person = await requests.person(asking.proven.how, asking.named, asking.actor)
    await log_asked(request, asking, person)
    policy: Policy = state.policies.current
    held = [await in_force(state.pool, id) for id in sorted(asking.named)]
    now = state.clock.now()
    rows = await decisions_of(state.pool, person)
    place = declared or place_of(rows)
    asked = [one for one in await requests.of(person) if may_see(asking, one.how)]
    shown = {
        "identifiers": sorted(map(str, asking.proven.identifiers)),
        "regime": policy.regime(place),
        "gpc": any(own.gpc for own in held),
        "choices": choices_shown(held, now, policy, place),
        "receipts": [receipt_line(row) for row in rows],
        "requests": [request_shown(one, state.topics) for one in asked],
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
    asking = await proven(request, state)
    requests: Requests = state.requests
    person = await requests.person(asking.proven.how, asking.named, asking.actor)
    await log_asked(request, asking, person, target=str(position))
    rows = [row for row in await decisions_of(state.pool, person) if row.position == position]
    if not rows:
        raise Problem(404, "Not found", "no such decision of this person")
    policy: Policy = state.policies.current
    names = sorted(map(str, asking.proven.identifiers))
    controller = msgspec.to_builtins(policy.controller)
    texts = policy.texts[policy.language(receipt_line(rows[0])["language"])]
    purposes = {purpose: text.description for purpose, text in texts.purposes.items()}
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
    made = await asyncio.to_thread(page, await _copy(request, state))
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(made, media_type=MediaType.HTML, headers=_download("my-data.html") | policy)


HANDLERS = [claim, make_link, me, me_receipt, me_copy, me_copy_page]


async def _copy(request: Call, state: State) -> dict[str, Any]:
    """Raises Problem 503 while as many are put together as may be: each is held in memory whole."""
    asking = await proven(request, state)
    copies: asyncio.Semaphore = state.copies
    if copies.locked():
        retry = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(503, "Busy", "other copies are being put together: try again", headers=retry)
    requests: Requests = state.requests
    neighbours: Neighbours = state.neighbours
    async with copies:
        person = await requests.person(asking.proven.how, asking.named, asking.actor)
        await log_asked(request, asking, person)
        return await copy_of(
            state.pool, neighbours, state.hasher, asking.proven, person, asking.actor, state.clock
        )


def _download(name: str) -> dict[str, str]:
    return PRIVATE | {"Content-Disposition": f'attachment; filename="{name}"'}
