"""Who asks the consent service for a person, and what may be shown to them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from litestar import Request
from litestar.datastructures import State

from services.consent.domain.request import Invalid, read_identifiers
from services.consent.domain.visitor import Unproven
from services.consent.flow.visitors import SCHEMES, VISITOR, Proven, Visitors
from services.kernel.audit import Actor, Audit
from services.kernel.http import Problem, action_of, reason_of
from services.kernel.identifier import Hasher, Identifier
from services.kernel.policy.model import is_place

Call: TypeAlias = Request[Any, Any, Any]
PROOFS = {"WWW-Authenticate": "Bearer, Visitor, Link"}


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
        raise Problem(401, "Unauthorized", str(error), headers=PROOFS) from None
    return asking_of(Actor(None, proven.how, reason_of(request)), proven, state)


def asking_of(actor: Actor, proven: Proven, state: State) -> Asking:
    hasher: Hasher = state.hasher
    return Asking(actor, proven, frozenset(map(hasher.of, proven.identifiers)))


async def proven(request: Call, state: State) -> Asking:
    """Raises Problem 401 for anybody else."""
    asking = await person_of(request, state)
    if asking is None:
        raise Problem(
            401,
            "Unauthorized",
            "expected Authorization: Visitor base64url(anonymous_id).secret, or Link TOKEN",
            headers=PROOFS,
        )
    return asking


async def log_asked(request: Call, asking: Asking, named: frozenset[bytes], *, target: str = "") -> None:
    """Log what this request is about to do for a person."""
    audit: Audit = request.app.state.audit
    await audit.note(
        asking.actor, action_of(request), target=target, identifiers=named, people=1 if named else 0
    )


def identifiers_of(data: dict[str, Any], state: State) -> frozenset[Identifier]:
    try:
        return read_identifiers(data, state.cleaner)
    except Invalid as error:
        raise Problem(400, "Bad request", state.cleaner.text(str(error))[0]) from None


def declared_place(jurisdiction: Any) -> str | None:
    """Where a person says that they are, None where they don't. Raises Problem."""
    if jurisdiction is None:
        return None
    if not isinstance(jurisdiction, str) or not is_place(jurisdiction.upper()):
        raise Problem(400, "Bad request", "jurisdiction: expected a country such as DE, or US-CA")
    return jurisdiction.upper()


def may_see(asking: Asking, how: str) -> bool:
    """A visitor sees nothing of what the whole person asked for elsewhere."""
    return asking.proven.how != VISITOR or how == VISITOR
