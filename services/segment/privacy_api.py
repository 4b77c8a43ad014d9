"""HTTP for the consent service, which asks for people: their copy."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.params import JSONBody

from services.kernel.http import BEARER, Problem, note, require
from services.kernel.identifier import HASH_SIZE
from services.kernel.internal import SCOPE
from services.segment.domain.copy import values
from services.segment.store.catalog import CatalogStore
from services.segment.store.reading import Reader


@post(
    "/v1/privacy/copy",
    name="privacy.copy",
    status_code=200,
    guards=[require(SCOPE)],
    security=BEARER,
    tags=["privacy"],
)
async def copy(
    request: Request[Any, Any, Any], state: State, data: JSONBody[dict[str, Any]]
) -> dict[str, Any]:
    """Every value that is kept of `profiles` (profile ids): copies of golden records, memberships, and the
    transitions of the last 30 days."""
    try:
        ids = [bytes.fromhex(id) for id in msgspec.convert(data.get("profiles"), list[str])]
    except (msgspec.ValidationError, ValueError):
        ids = [b""]
    if any(len(id) != HASH_SIZE for id in ids):
        raise Problem(400, "Bad request", "profiles: expected profile ids of 32 hexadecimal digits")
    await note(request, profiles=set(ids), people=len(ids))
    reader: Reader = state.reader
    catalogs: CatalogStore = state.catalogs
    segments = (await catalogs.current()).segments
    return {"values": values(*await reader.kept_of(ids), segments)}


HANDLERS = [copy]
