"""HTTP for the consent service, which asks for people: their copy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.params import JSONBody

from services.ingest.letters import letters_of, payload_of
from services.kernel.clock import SECOND
from services.kernel.http import BEARER, Problem, note, require
from services.kernel.identifier import HASH_SIZE
from services.kernel.internal import SCOPE


@post(
    "/v1/privacy/copy",
    name="privacy.copy",
    status_code=200,
    guards=[require(SCOPE)],
    security=BEARER,
    tags=["privacy"],
)
async def privacy_copy(
    request: Request[Any, Any, Any], state: State, data: JSONBody[dict[str, Any]]
) -> dict[str, Any]:
    """The dead letters that came under `identifiers` (hashes)."""
    try:
        ids = {bytes.fromhex(id) for id in msgspec.convert(data.get("identifiers"), list[str])}
    except (msgspec.ValidationError, ValueError):
        ids = {b""}
    if any(len(id) != HASH_SIZE for id in ids):
        raise Problem(400, "Bad request", "identifiers: expected hashes of 32 hexadecimal digits")
    await note(request, identifiers=ids, people=1)
    values = [
        {
            "what": f"dead letter ({letter.reason})",
            "value": payload_of(letter),
            "source": letter.source,
            "time": datetime.fromtimestamp(letter.dead_at / SECOND, UTC).isoformat(),
            "purposes": [],
        }
        async for letter in letters_of(state.settings, ids)
    ]
    return {"values": values}
