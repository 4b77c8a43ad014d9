"""HTTP: API keys, made, listed, rotated and revoked by admin keys with the scope keys:admin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from services.kernel import keys
from services.kernel.http import BEARER, Problem, bearer, note, require
from services.kernel.key_file import Time, read_used
from services.kernel.keys import Key, KeyProblem

ADMIN = [require("keys:admin")]
MAX_GRACE = 366 * 24 * 3600

T = TypeVar("T")


class Wanted(Struct, forbid_unknown_fields=True):
    """A key to be made; what is left out has its default."""

    name: str
    kind: str
    source: str | None = None
    scopes: list[str] | None = None
    expires: Time | None = None
    rate_events: int | None = None
    rate_bytes: int | None = None


class Rotation(Struct, forbid_unknown_fields=True):
    """``grace``: seconds after which the token before ends."""

    grace: Annotated[int, Meta(ge=0, le=MAX_GRACE)] | None = None


@get("/v1/keys", name="keys.list", guards=ADMIN, security=BEARER, tags=["keys"])
async def list_keys(request: Request[Any, Any, Any], state: State) -> dict[str, Any]:
    """All keys without their secrets; `last_used` is up to a minute late."""
    await note(request)
    path: Path = state.keyring_path
    found, used = await asyncio.gather(
        asyncio.to_thread(keys.list_keys, path), asyncio.to_thread(read_used, path)
    )
    return {"keys": [_shown(key, used.get(key.id)) for key in found]}


@post("/v1/keys", name="keys.create", guards=ADMIN, security=BEARER, tags=["keys"])
async def create_key(request: Request[Any, Any, Any], state: State, data: JSONBody[Wanted]) -> dict[str, Any]:
    """Make a key: `name`, `kind` (write, server or admin), and `source` for one that writes. An admin key may
    have some `scopes` only. `token` is shown in this answer alone."""
    try:
        key, token = keys.draft(
            data.name,
            data.kind,
            data.source,
            scopes=data.scopes,
            expires=data.expires,
            rate_events=data.rate_events,
            rate_bytes=data.rate_bytes,
        )
    except KeyProblem as error:
        raise Problem(400, "Not a key", str(error)) from None
    await _may_give(request, key)
    await note(request, target=_named(key))
    try:
        await asyncio.to_thread(keys.add, state.keyring_path, key)
    except KeyProblem as error:
        raise Problem(409, "Conflict", str(error)) from None
    return {**_shown(key, None), "token": token}


@post(
    "/v1/keys/{id:str}/rotate",
    name="keys.rotate",
    status_code=200,
    guards=ADMIN,
    security=BEARER,
    tags=["keys"],
)
async def rotate_key(
    request: Request[Any, Any, Any], state: State, id: FromPath[str], data: JSONBody[Rotation]
) -> dict[str, Any]:
    """Give a key a new `token`, shown in this answer alone. The one before stays in force too: for `grace`
    seconds, else until the next rotation."""
    key = await _find(state, id)
    await _may_give(request, key)
    await note(request, target=_named(key))
    grace = None if data.grace is None else timedelta(seconds=data.grace)
    token = await _found(asyncio.to_thread(keys.rotate, state.keyring_path, key.id, grace=grace))
    return {"id": key.id, "name": key.name, "token": token}


@delete("/v1/keys/{id:str}", name="keys.revoke", guards=ADMIN, security=BEARER, tags=["keys"])
async def revoke_key(request: Request[Any, Any, Any], state: State, id: FromPath[str]) -> None:
    """Take a key out of force: in every service within a second or two, without a restart."""
    key = await _find(state, id)
    await note(request, target=_named(key))
    await _found(asyncio.to_thread(keys.revoke, state.keyring_path, key.id))


HANDLERS: list[HTTPRouteHandler] = [list_keys, create_key, rotate_key, revoke_key]


async def _find(state: State, id: str) -> Key:
    return await _found(asyncio.to_thread(keys.find, state.keyring_path, id))


async def _found(looking: Awaitable[T]) -> T:
    try:
        return await looking
    except KeyProblem:
        raise Problem(404, "Not found", "no such key") from None


async def _may_give(request: Request[Any, Any, Any], key: Key) -> None:
    """Who may make keys must not give by them what the own key may not do."""
    missing = sorted(key.scopes - bearer(request).scopes)
    if missing:
        await note(request, target=_named(key), outcome="refused")
        raise Problem(403, "Forbidden", f"the key lacks the scope {', '.join(missing)}, so it can't give it")


def _named(key: Key) -> str:
    return f"{key.id} {key.name}"


def _shown(key: Key, used: datetime | None) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind,
        "source": key.source,
        "scopes": sorted(key.scopes),
        "created": key.created,
        "expires": key.expires,
        "tokens": [{"created": token.created, "ends": token.ends} for token in keys.live_tokens(key)],
        "last_used": used,
        "rate_events": key.rate_events,
        "rate_bytes": key.rate_bytes,
    }
