"""What a client sends to POST /v1/decisions, read strictly: every error names its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from services.consent.domain.rule import EVERY, GPC, Choice
from services.kernel.identifier import ANONYMOUS_ID, KINDS, Identifier, normalise
from services.kernel.masking.cleaner import Cleaner
from services.kernel.outcome import BadRecord

METHODS = ("accept", "reject", "save", "dismiss", GPC, "api", "import", "propagated")
MAX_IDENTIFIERS = 50
MAX_ID = 100
PROOF = {
    "policy_version": (str, int),
    "policy_hash": (str,),
    "text_hash": (str,),
    "language": (str,),
    "banner_version": (str, int),
    "url": (str,),
    "jurisdiction": (str,),
    "regime": (str,),
    "shown": (list,),
    "tcf": (str,),
    "gpp": (str,),
}
"""Optional members that are kept with the decision, cleaned like events; by the types that they may have."""
MAX_PROOF_TEXT = 4000
_CARD = "expected no card number and nothing else that must not be stored"


class Invalid(ValueError):
    """The place in what was sent, and what was expected there."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as it was sent. ``proof``: what else belongs into the record. ``id`` may be None.

    ``ignored``: what it denies besides and is no purpose of the policy; it may be all that it says.
    """

    id: str | None
    identifiers: frozenset[Identifier]
    purposes: dict[str, Choice]
    method: str
    proof: dict[str, Any]
    ignored: frozenset[str] = frozenset()

    @property
    def needs_server_key(self) -> bool:
        """Write keys are public: with one anybody may deny, but grant only for an anonymous_id."""
        return "grant" in self.purposes.values() and any(
            identifier.kind != ANONYMOUS_ID for identifier in self.identifiers
        )


def read(body: dict[str, Any], purposes: Collection[str], cleaner: Cleaner) -> Decided:
    """The decision of a JSON object, cleaned. ``purposes``: those of the policy. Raises Invalid."""
    known = {
        "identifiers",
        "identifier",
        "purposes",
        "method",
        "id",
        "client_time",
        "writeKey",
        "secret",
        *PROOF,
    }
    for name in body:
        if name not in known:
            raise Invalid(f"{name}: unknown member, expected one of {', '.join(sorted(known))}")
    method = body.get("method", "api")
    if method not in METHODS:
        raise Invalid(f"method: expected one of {', '.join(METHODS)}")
    chosen, ignored = _purposes(body.get("purposes"), purposes)
    decided = Decided(
        id=_id(body.get("id"), cleaner),
        identifiers=read_identifiers(body, cleaner),
        purposes=chosen,
        method=method,
        proof=_proof(body, cleaner),
        ignored=ignored,
    )
    if method == GPC and "grant" in decided.purposes.values():
        raise Invalid("method: a GPC signal grants nothing")
    return decided


def _id(value: Any, cleaner: Cleaner) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID or not value.isprintable():
        raise Invalid(f"id: expected a text of 1 to {MAX_ID} printable characters")
    if cleaner.changes("id", value):
        raise Invalid(f"id: {_CARD}")
    return value


def read_identifiers(body: dict[str, Any], cleaner: Cleaner) -> frozenset[Identifier]:
    """As at ingest, what must not be stored can be nobody's identifier."""
    names = [name for name in ("identifiers", "identifier") if body.get(name) is not None]
    if len(names) != 1:
        raise Invalid('identifiers: expected an object such as {"user_id": "…", "anonymous_id": "…"}')
    found = frozenset(_each_identifier(names[0], body[names[0]]))
    if not 0 < len(found) <= MAX_IDENTIFIERS:
        raise Invalid(f"{names[0]}: expected 1 to {MAX_IDENTIFIERS} identifiers")
    for identifier in found:
        if cleaner.changes(identifier.kind, identifier.value):
            raise Invalid(f"{names[0]}: the {identifier.kind}: {_CARD}")
    return found


def _each_identifier(place: str, value: Any) -> Iterator[Identifier]:
    """Of an object from kinds to values or lists of them, a text ``kind:value``, or a list of such texts."""
    match value:
        case dict():
            for kind, own in value.items():
                if kind not in KINDS:
                    raise Invalid(f"{place}.{kind}: unknown kind, expected one of {', '.join(KINDS)}")
                for text in own if isinstance(own, list) else [own]:
                    if not isinstance(text, str) or not normalise(text):
                        raise Invalid(f"{place}.{kind}: expected a text that is not empty")
                    yield Identifier(kind, normalise(text))
        case list():
            for index, own in enumerate(value):
                if not isinstance(own, str):
                    raise Invalid(f"{place}[{index}]: expected a text such as user_id:…")
                yield from _each_identifier(f"{place}[{index}]", own)
        case str():
            try:
                yield Identifier.parse(value)
            except ValueError as error:
                raise Invalid(f"{place}: {error}") from None
        case _:
            raise Invalid(f'{place}: expected an object such as {{"user_id": "…"}}')


def _purposes(value: Any, known: Collection[str]) -> tuple[dict[str, Choice], frozenset[str]]:
    """The choices for the policy's purposes, and what is denied besides. A page may have been open since
    before the policy changed: a purpose that is gone must not cost a person the rest of their no."""
    if not isinstance(value, dict) or not value:
        raise Invalid('purposes: expected an object such as {"marketing": "deny"}')
    chosen: dict[str, Choice] = {}
    for name, choice in value.items():
        if choice not in ("grant", "deny"):
            raise Invalid(f"purposes.{name}: expected grant or deny")
        if name == EVERY or name in known:
            chosen[name] = choice
        elif choice == "grant":
            raise Invalid(f"purposes.{name}: unknown purpose, expected one of {', '.join(sorted(known))}, *")
    return chosen, frozenset(value.keys() - chosen.keys())


def _proof(body: dict[str, Any], cleaner: Cleaner) -> dict[str, Any]:
    proof: dict[str, Any] = {}
    for name, types in PROOF.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            raise Invalid(f"{name}: expected {' or '.join(_words[kind] for kind in types)}")
        if len(msgspec.json.encode(value)) > MAX_PROOF_TEXT:
            raise Invalid(f"{name}: expected no more than {MAX_PROOF_TEXT} bytes")
        proof[name] = value
    time = body.get("client_time")
    if time is not None:
        try:
            datetime.fromisoformat(time)
        except (TypeError, ValueError):
            raise Invalid("client_time: expected an ISO 8601 time") from None
        proof["client_time"] = time
    try:
        cleaned, _ = cleaner.clean(msgspec.json.encode(proof))
    except BadRecord:
        raise Invalid(f"{', '.join(proof)}: too deep to be searched for card data") from None
    kept: dict[str, Any] = msgspec.json.decode(cleaned)
    return kept


_words = {str: "a text", int: "a number", list: "a list"}
