"""HTTP: what people are asked and told. No key is needed: anybody may know."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from services.consent.domain.policy_shown import catalog_shown, policy_shown
from services.consent.flow.unlisted import KEPT, unlisted_since
from services.kernel.clock import Clock
from services.kernel.http import Problem
from services.kernel.keys import KeyRing
from services.kernel.policy import Policy
from services.kernel.policy.model import is_place

CACHED = {"Cache-Control": "public, max-age=60"}

Language = Annotated[
    str | None, QueryParameter(description="BCP 47; where it is missing, its base, else the first")
]


@get("/v1/policy", tags=["policy"], sync_to_thread=False)
def show_policy(
    state: State,
    language: Language = None,
    jurisdiction: Annotated[
        str | None, QueryParameter(description="A country such as DE, or a region such as US-CA")
    ] = None,
    write_key: Annotated[
        str | None, QueryParameter(name="writeKey", description="Its source's jurisdiction is the default")
    ] = None,
) -> Response[dict[str, Any]]:
    """What a person there is asked, in words, and what holds until they answer. `text_hash` is of what they
    can read, so that a record can say it; `hash` is of all that anybody is asked or told."""
    policy: Policy = state.policies.current
    keyring: KeyRing = state.keyring
    declared = jurisdiction.upper() if jurisdiction else None
    if declared is not None and not is_place(declared):
        raise Problem(400, "Bad request", "jurisdiction: expected a country such as DE, or US-CA")
    key = keyring.write_key(write_key) if write_key else None
    place = policy.place_of(key.source if key else None, declared)
    return Response(policy_shown(policy, policy.language(language), place), headers=CACHED)


@get("/v1/catalog", tags=["policy"])
async def show_catalog(state: State, language: Language = None) -> Response[dict[str, Any]]:
    """What is collected of people: each event and trait with why, for what, how long, and who gets it.
    `unlisted`: what was seen and does not stand there."""
    policy: Policy = state.policies.current
    clock: Clock = state.clock
    seen = await unlisted_since(state.pool, clock.now() - KEPT)
    return Response(catalog_shown(policy, policy.language(language), seen), headers=CACHED)


HANDLERS: list[HTTPRouteHandler] = [show_policy, show_catalog]
