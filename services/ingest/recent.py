"""HTTP: what became of a source's newest events."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.datastructures import State
from litestar.params import FromPath

from services.kernel.http import BEARER, note, require
from services.kernel.recent.following import Recent


@get(
    "/v1/sources/{source:str}/recent",
    name="sources.recent",
    guards=[require("profile:read")],
    security=BEARER,
    tags=["operators"],
)
async def get_recent(request: Request[Any, Any, Any], state: State, source: FromPath[str]) -> dict[str, Any]:
    """Did my event arrive? The newest 200 events of the source, newest first, each with its outcome by stage
    within about a second: `accepted`, then `applied`, `repeat`, `test` (a test event, which no profile
    shows), `dropped` or `dead`. Never a payload. The first question looks ten minutes back, where what was
    dropped has left no trace; ask again within a minute, or `since` begins anew."""
    recent: Recent = state.recent
    await note(request, target=source)
    return await recent.of(source)
