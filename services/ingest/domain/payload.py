"""The payload of an event: properties, traits, context and integrations as raw JSON, put together."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from services.ingest.domain import cards, masking
from services.ingest.domain.addresses import truncated
from services.ingest.domain.calls import NULL, Call, Request
from services.kernel.outcome import BadRecord

MAX_USER_AGENT = 1_000
MAX_KEPT = 256_000
"""Bytes of a bad call that its dead letter may hold."""


class Sender(NamedTuple):
    """Who sent a request: source and, of apps in people's hands, address and user agent."""

    source: str
    address: str | None
    user_agent: str | None


class _Consent(Struct, gc=False):
    categoryPreferences: dict[str, bool] | None = None


class _Context(Struct, gc=False):
    """What ingest must know of a context."""

    ip: Raw = NULL
    userAgent: Raw = NULL
    consent: _Consent | None = None


_NOTHING = _Context()
_context = msgspec.json.Decoder(_Context)
_members = msgspec.json.Decoder(dict[str, Raw])


class Shared:
    """What a request says for all its calls; masked, unless it is known to be ``harmless``.

    ``masked``: kinds of card data taken out. Raises BadRecord where context or integrations is no object.
    """

    def __init__(self, request: Request, sender: Sender, *, harmless: bool) -> None:
        self.masked: list[str] = []
        self._context = self._clean(as_object(request.context, "context"), harmless)
        self._integrations = self._clean(as_object(request.integrations, "integrations"), harmless)
        self._ip = _text(truncated(sender.address) if sender.address else None)
        user_agent, masked = cards.mask((sender.user_agent or "")[:MAX_USER_AGENT])
        self._user_agent = _text(user_agent or None)
        self.masked += masked

    def _clean(self, raw: bytes, harmless: bool) -> bytes:
        if harmless or not raw or not masking.suspicious(raw):
            return raw
        cleaned, masked = masking.clean(raw)
        self.masked += masked
        return cleaned

    def payload(self, call: Call) -> tuple[bytes, tuple[str, ...] | None]:
        """The call's payload, and the categories that its consent stamp allows, None where it has none.

        Of context and integrations the call's members come before the request's. Raises BadRecord.
        """
        context, consent = self._context_of(call)
        properties = as_object(call.properties, "properties")
        if call.category is not None:
            members = {"category": Raw(msgspec.json.encode(call.category))}
            properties = msgspec.json.encode(members | _members.decode(properties or b"{}"))
        integrations = as_object(call.integrations, "integrations")
        if self._integrations:
            integrations = _merged(self._integrations, integrations)
        parts = [
            prefix + part
            for prefix, part in (
                (b'"properties":', properties),
                (b'"traits":', as_object(call.traits, "traits")),
                (b'"context":', context),
                (b'"integrations":', integrations),
            )
            if part and part != b"{}"
        ]
        return b"{" + b",".join(parts) + b"}", consent

    def _context_of(self, call: Call) -> tuple[bytes, tuple[str, ...] | None]:
        raw = as_object(call.context, "context")
        if self._context:
            raw = _merged(self._context, raw)
        known = _known(raw)
        changes = {}
        if known.ip != NULL:
            changes["ip"] = _cut(known.ip)
        elif self._ip is not None:
            changes["ip"] = self._ip
        if self._user_agent is not None and known.userAgent == NULL:
            changes["userAgent"] = self._user_agent
        if changes:
            raw = msgspec.json.encode(_members.decode(raw or b"{}") | changes)
        consent = known.consent
        if consent is None or consent.categoryPreferences is None:
            return raw, None
        return raw, tuple(sorted(name for name, allowed in consent.categoryPreferences.items() if allowed))


def kept(raw: bytes, *, suspicious: bool) -> tuple[bytes, list[str]]:
    """A bad call as its dead letter may hold it, and the kinds of card data taken out: nothing of it where it
    can't be searched or is too long."""
    if len(raw) > MAX_KEPT:
        return b"", []
    try:
        cleaned, masked = masking.clean(raw) if suspicious else (raw, [])
    except BadRecord:
        return b"", []
    try:
        members = _members.decode(cleaned)
        context = _members.decode(members.get("context", NULL))
    except msgspec.ValidationError:
        return cleaned, masked  # no object, or none in it, so there is no address to cut
    if "ip" in context:
        context["ip"] = _cut(context["ip"])
        members["context"] = Raw(msgspec.json.encode(context))
        cleaned = msgspec.json.encode(members)
    return cleaned, masked


def as_object(raw: Raw, place: str) -> bytes:
    """The JSON of an object, empty for null. Raises BadRecord("bad_field") for anything else."""
    data = bytes(raw)
    if data[:1] == b"{":
        return data
    if data == b"null":
        return b""
    raise BadRecord("bad_field", f"Expected `object` - at `$.{place}`")


def _known(context: bytes) -> _Context:
    if not context:
        return _NOTHING
    try:
        return _context.decode(context)
    except msgspec.ValidationError as error:
        raise BadRecord("bad_consent", str(error)) from None


def _merged(under: bytes, over: bytes) -> bytes:
    """Members of both objects; of those in both, the second's."""
    return msgspec.json.encode(_members.decode(under) | _members.decode(over or b"{}"))


def _cut(address: Raw) -> Raw:
    try:
        return _text(truncated(msgspec.json.decode(address, type=str))) or NULL
    except msgspec.ValidationError:
        return NULL


def _text(text: str | None) -> Raw | None:
    return None if text is None else Raw(msgspec.json.encode(text))
