"""HTTP: taking decisions, and showing what was decided and what holds."""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import msgspec
from litestar import Request, get, post
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from services.consent.asking import Asking, declared_place, person_of
from services.consent.domain.counting import Asked
from services.consent.domain.ledger import Terms
from services.consent.domain.presentation import receipt_shown, row_shown, state_shown
from services.consent.domain.request import Decided, Invalid, read
from services.consent.domain.visitor import Unproven, anonymous
from services.consent.flow.changes import Decide
from services.consent.flow.decisions import Decisions
from services.consent.flow.publication import Publications
from services.consent.flow.reading import in_force, in_force_at, ledger_of
from services.consent.flow.visitors import Visitors
from services.kernel.clock import Clock
from services.kernel.http import BEARER, RETRY_SECONDS, Problem, note, require
from services.kernel.identifier import ANONYMOUS_ID, Hasher, Identifier
from services.kernel.keys import Key, KeyRing
from services.kernel.outcome import Outage
from services.kernel.policy import Policy
from services.kernel.policy.model import is_place

ACKNOWLEDGE_SECONDS = 5.0
"""A decision that is not published by then is answered with 503; it stands, or it can be sent again."""
MAX_BODY_BYTES = 64_000
READ = [require("consent:read")]

CORS = CORSConfig(
    allow_origins=["*"],
    allow_methods=["GET", "POST"],
    allow_headers=["Authorization", "Content-Type"],
    expose_headers=["Retry-After"],
    max_age=86400,
)
"""Any shop's pages may call: keys are sent by the caller, no browser adds them by itself."""


@post(
    "/v1/decisions",
    status_code=200,
    security=BEARER,
    tags=["decisions"],
    request_max_body_size=MAX_BODY_BYTES,
    responses={
        401: ResponseSpec(dict[str, Any], description="No live key."),
        403: ResponseSpec(dict[str, Any], description="The key may not grant this."),
        409: ResponseSpec(dict[str, Any], description="The id belongs to another decision."),
        503: ResponseSpec(
            dict[str, Any], description="Not acknowledged yet: send it again with the same id."
        ),
    },
)
async def decide(request: Request[Any, Any, Any], state: State) -> dict[str, Any]:
    """Take a person's decision: `{"identifiers": {"user_id": "…", "anonymous_id": "…"}, "purposes":
    {"marketing": "deny"}, "method": "reject", "id": "…"}`. The purpose `*` stands for every purpose not named
    beside it. The answer comes once no event of a later request can get past the decision.

    What is denied and is no purpose of the policy (any more) is left out and named in `ignored`; where it
    was all, nothing is noted and `position` is null. To grant such a purpose is an error.

    The key: `Authorization: Bearer`, or a write key as Basic user name or as `writeKey`. With a write key
    anybody may deny, but grant only for an anonymous_id. A person comes with `Authorization: Visitor …` or
    `Link …`, and decides for who they have shown to be. Sent again with the same `id`, it counts once. A
    visitor's `secret` claims the anonymous_id, as `POST /v1/visitors` does.
    """
    body = json_object(await request.body())
    person = await person_of(request, state)
    who = person or key_of(request, state.keyring, body)
    policy: Policy = state.policies.current
    try:
        decided = read(body, policy.purposes, state.cleaner)
    except Invalid as error:
        raise Problem(400, "Not a decision", state.cleaner.text(str(error))[0]) from None
    if person is not None and not decided.identifiers <= person.proven.identifiers:
        raise Problem(403, "Forbidden", "identifiers: expected those that the secret or link is for")
    if isinstance(who, Key) and decided.needs_server_key and "consent:write" not in who.scopes:
        raise Problem(
            403,
            "Forbidden",
            "identifiers: to grant for a user_id takes a key with the scope consent:write (a server key); "
            "a write key may deny, or grant for an anonymous_id alone",
        )
    identifier = decided.id or str(uuid.uuid4())
    change = _change(decided, identifier, who, policy, state.hasher)
    decisions: Decisions = state.decisions
    publications: Publications = state.publications
    try:
        async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
            (noted,) = await decisions.submit([change])
            if noted.conflict:
                raise Problem(409, "Conflict", "id: another decision has it already")
            await publications.wait(noted.waiting)
    except (TimeoutError, Outage):
        raise Problem(
            503,
            "Not acknowledged yet",
            "send it again with the same id",
            headers={"Retry-After": str(RETRY_SECONDS)},
            id=identifier,
        ) from None
    await _claim(state, decided, body.get("secret"))
    terms = cast(Terms, noted.terms)  # as of every decision
    shown = receipt_shown(terms, noted.position, decided.identifiers)
    return {**shown, "ignored": sorted(state.cleaner.text(name)[0] for name in decided.ignored)}


@get(
    "/v1/decisions/{identifier:path}", name="decisions.read", guards=READ, security=BEARER, tags=["decisions"]
)
async def show_decisions(
    request: Request[Any, Any, Any],
    state: State,
    identifier: FromPath[str],
    at: Annotated[str | None, QueryParameter(description="ISO 8601; what held then")] = None,
    jurisdiction: Annotated[
        str | None, QueryParameter(description="Where the person is: what holds there without an answer")
    ] = None,
) -> dict[str, Any]:
    """What is in force for an identifier such as `user_id:42`, purpose by purpose."""
    named, place = _identifier(identifier), declared_place(jurisdiction)
    hasher: Hasher = state.hasher
    clock: Clock = state.clock
    since = None if at is None else _time(at)
    await note(request, identifiers={hasher.of(named)}, people=1)
    if since is None:
        now = clock.now()
        held = await in_force(state.pool, hasher.of(named))
    else:
        now = since
        held = await in_force_at(state.pool, hasher.of(named), now)
    policy: Policy = state.policies.current
    return state_shown(named, held, now, policy, place)


@get("/v1/ledger/{identifier:path}", name="ledger.read", guards=READ, security=BEARER, tags=["decisions"])
async def show_ledger(
    request: Request[Any, Any, Any], state: State, identifier: FromPath[str]
) -> dict[str, Any]:
    """All decisions that name an identifier, in their order, with the record kept of each."""
    named = _identifier(identifier)
    id = state.hasher.of(named)
    await note(request, identifiers={id}, people=1)
    rows = await ledger_of(state.pool, id)
    return {"identifier": str(named), "decisions": [row_shown(row) for row in rows]}


HANDLERS = [decide, show_decisions, show_ledger]


def json_object(data: bytes) -> dict[str, Any]:
    """Whatever the content type: navigator.sendBeacon sends JSON as text/plain."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise Problem(400, "Not a decision", "the body: expected JSON") from None
    if not isinstance(body, dict):
        raise Problem(400, "Not a decision", "the body: expected a JSON object")
    return body


def key_of(request: Request[Any, Any, Any], keyring: KeyRing, body: dict[str, Any]) -> Key:
    """The live key of the header, or of the body. Raises Problem 401."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    token = body.get("writeKey")
    if scheme.lower() == "bearer":
        token = rest.strip()
    elif scheme.lower() == "basic":
        try:
            token = base64.b64decode(rest).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            token = None
    key = keyring.bearer(token) if isinstance(token, str) else None
    if key is None:
        raise Problem(
            401,
            "Unauthorized",
            "a live key is needed: Authorization: Bearer candor_…, or a write key as Basic user or writeKey",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return key


async def _claim(state: State, decided: Decided, secret: Any) -> None:
    """Note the visitor's secret that came along. A decision stands whoever has claimed the identifier."""
    visitors: Visitors = state.visitors
    visitor = next(iter(decided.identifiers)) if len(decided.identifiers) == 1 else None
    if secret is not None and visitor is not None and visitor.kind == ANONYMOUS_ID:
        with suppress(Unproven):
            await visitors.claim(anonymous(visitor.value), secret)


def _change(decided: Decided, identifier: str, who: Key | Asking, policy: Policy, hasher: Hasher) -> Decide:
    if isinstance(who, Asking):
        # Ids are unique per source: one person must not be told of another's decision by theirs.
        name = who.actor.name
        source = f"{name} {min(who.named).hex()}"
        asked = asked_of(policy, None, decided.proof)
    else:
        name, source = who.name, who.source or f"key {who.id}"
        asked = asked_of(policy, who.source, decided.proof)
    record = {
        **decided.proof,
        "identifiers": sorted(map(str, decided.identifiers)),
        "origin": "api",
        "key": name,
        "policy_in_force": policy.version,
        "regime_in_force": policy.regime(asked.jurisdiction),
    }
    return Decide(
        source=source,
        id=identifier,
        identifiers=frozenset(map(hasher.of, decided.identifiers)),
        purposes=decided.purposes,
        method=decided.method,
        record=msgspec.json.encode(record, order="sorted"),
        asked=asked,
        ignored=decided.ignored,
    )


def asked_of(policy: Policy, source: str | None, said: Mapping[str, Any]) -> Asked:
    """Where somebody was asked, by the members `language` and `jurisdiction` that a page sends: as the policy
    names them, so that pages can invent none."""
    language, place = said.get("language"), said.get("jurisdiction")
    declared = place if isinstance(place, str) and is_place(place) else None
    jurisdiction = policy.jurisdiction(policy.place_of(source, declared))
    return Asked(language if isinstance(language, str) and language in policy.texts else "", jurisdiction)


def _identifier(path: str) -> Identifier:
    try:
        return Identifier.parse(path.removeprefix("/"))
    except ValueError as error:
        raise Problem(400, "Bad request", f"identifier: {error}") from None


def _time(text: str) -> int:
    try:
        time = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise Problem(400, "Bad request", "at: expected an ISO 8601 time") from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return int(time.timestamp() * 1_000_000)
