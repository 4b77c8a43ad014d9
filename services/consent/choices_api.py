"""HTTP: how many people were asked and what they chose, and that Global Privacy Control is honoured."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from services.consent import store
from services.consent.api import asked_of, json_object, key_of
from services.consent.domain.counting import stats_shown
from services.consent.flow.showings import Showings
from services.kernel.clock import Clock
from services.kernel.http import BEARER, Problem, require
from services.kernel.policy import Policy

GPC_SINCE = "2026-11-28"
"""When what is said of GPC last changed."""
DAYS = 30


@post(
    "/v1/policy/shown",
    status_code=204,
    security=BEARER,
    tags=["policy"],
    request_max_body_size=4_000,
)
async def note_shown(request: Request[Any, Any, Any], state: State) -> None:
    """Count that somebody was shown the question: `{"writeKey": "…", "language": "de", "jurisdiction":
    "DE"}`. Nobody is named."""
    body = json_object(await request.body())
    key = key_of(request, state.keyring, body)
    showings: Showings = state.showings
    showings.note(asked_of(state.policies.current, key.source, body))


@get(
    "/v1/policy/stats",
    name="policy.stats",
    guards=[require("consent:read")],
    security=BEARER,
    tags=["policy"],
)
async def show_stats(
    state: State,
    since: Annotated[str | None, QueryParameter(description="The first UTC day, 30 days ago")] = None,
    until: Annotated[str | None, QueryParameter(description="The last UTC day, today")] = None,
) -> dict[str, Any]:
    """How often people were asked, what they answered, how many allowed and refused each purpose, and how
    many took a yes back; in sum, by language and by jurisdiction. `other`: a language that the policy lacks,
    or answers that came without one."""
    clock: Clock = state.clock
    today = datetime.fromtimestamp(clock.now() / 1_000_000, UTC).date()
    last = _day("until", until) or today
    first = _day("since", since) or date.fromordinal(max(1, last.toordinal() - DAYS))
    async with state.pool.acquire() as connection:
        counts = await store.choices_between(connection, _number(first), _number(last))
    policy: Policy = state.policies.current
    return {
        "since": first.isoformat(),
        "until": last.isoformat(),
        **stats_shown(counts, policy.purposes),
    }


@get("/.well-known/gpc.json", sync_to_thread=False, tags=["policy"])
def show_gpc(state: State) -> dict[str, Any]:
    """Whether Global Privacy Control is honoured (W3C, "GPC Support Resource")."""
    policy: Policy = state.policies.current
    return {"gpc": bool(policy.gpc.denies), "lastUpdate": GPC_SINCE}


HANDLERS: list[HTTPRouteHandler] = [note_shown, show_stats, show_gpc]


def _day(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Problem(400, "Bad request", f"{name}: expected a day such as 2026-05-01") from None


def _number(day: date) -> int:
    """Whole days since the epoch."""
    return (day - date(1970, 1, 1)).days
