"""The payload of an event: properties, traits, context and integrations as raw JSON, put together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

import msgspec
from msgspec import Raw

from services.ingest.domain import bots
from services.ingest.domain.addresses import truncated
from services.ingest.domain.calls import IDENTIFY, NULL, Call, Request
from services.ingest.domain.place import declared_place
from services.ingest.domain.stamps import stamp_of
from services.kernel import limits
from services.kernel.masking.cleaner import Cleaner
from services.kernel.outcome import BadRecord
from services.kernel.permission import Stamp
from services.kernel.remembered import remembered

MAX_USER_AGENT = 1_000
MAX_KEPT = 256_000
"""Bytes of a bad call that its dead letter may hold."""


class Sender(NamedTuple):
    """Who sent a request: source and, of apps in people's hands, address and user agent. ``test``: whether
    its events are tests. ``place``: where people are whose events don't say so."""

    source: str
    address: str | None
    user_agent: str | None
    test: bool = False
    place: str | None = None


class Said(NamedTuple):
    """What the context of an event says. ``stored``: the context as it is stored. ``stamp``: what it says of
    consent, None where it says nothing. ``test``: whether it is a test event. ``traits``: where RudderStack's
    SDKs put those of an identify. ``place``: see :func:`declared_place`."""

    stored: bytes
    stamp: Stamp | None
    test: bool
    traits: bytes
    place: str | None


_IDS = ("userId", "anonymousId", "previousId", "groupId", "messageId")
_members = msgspec.json.Decoder(dict[str, Raw])
_TRUE = Raw(b"true")


class Shared:
    """What a request says for all its calls; cleaned, unless it is known to be ``harmless``.

    ``masked``: kinds of what was taken out. Raises BadRecord where context or integrations is no object or
    breaks a limit.
    """

    def __init__(self, request: Request, sender: Sender, cleaner: Cleaner, *, harmless: bool) -> None:
        self.masked: list[str] = []
        self._cleaner = cleaner
        self._contexts: dict[bytes, Said] = {}  # SDKs repeat theirs
        self._context = self._members_of(request.context, "context", harmless)
        self._integrations = self._members_of(request.integrations, "integrations", harmless)
        self._sender = sender
        self._ip = _recorded(sender.address) if sender.address else None
        self._test = sender.test
        self._searches = bots.MAX_SEARCHES

    @cached_property
    def _user_agent(self) -> Raw | None:
        """Of the request: looked through once, and only where an event has none."""
        user_agent, masked = self._cleaner.text((self._sender.user_agent or "")[:MAX_USER_AGENT])
        self.masked += masked
        return _text(user_agent or None)

    def _members_of(self, raw: Raw, place: str, harmless: bool) -> dict[str, Raw]:
        data = as_object(raw, place)
        if not data:
            return {}
        limits.check(data, harmless=harmless)
        if not harmless and self._cleaner.suspicious(data):
            data, masked = self._cleaner.clean(data)
            self.masked += masked
        return _members.decode(data)

    def payload(self, call: Call, type_: str) -> tuple[bytes, Said]:
        """The call's payload, and what its context says.

        Of context and integrations the call's members come before the request's. Raises BadRecord.
        """
        raw = as_object(call.context, "context")
        said = self._contexts.get(raw)
        if said is None:
            said = self._contexts[raw] = self._said(raw)
        properties = as_object(call.properties, "properties")
        if call.category is not None:
            members = {"category": Raw(msgspec.json.encode(call.category))}
            properties = msgspec.json.encode(members | _members.decode(properties or b"{}"))
        traits = as_object(call.traits, "traits")
        if not traits and type_ == IDENTIFY:
            traits = said.traits
        integrations = as_object(call.integrations, "integrations")
        if self._integrations:
            integrations = msgspec.json.encode(self._integrations | _members.decode(integrations or b"{}"))
        parts = []
        if properties:
            parts.append(b'"properties":' + properties)
        if traits:
            parts.append(b'"traits":' + traits)
        if said.stored:
            parts.append(b'"context":' + said.stored)
        if integrations:
            parts.append(b'"integrations":' + integrations)
        return b"{" + b",".join(parts) + b"}", said

    def _said(self, raw: bytes) -> Said:
        members, changed = self._merged(raw)
        stamp = stamp_of(members)
        test = "test" in members and members["test"] == _TRUE
        traits = bytes(members["traits"]) if "traits" in members else b""
        if traits[:1] != b"{":
            traits = b""
        stored = msgspec.json.encode(members) if changed else raw
        return Said(stored, stamp, test, traits, declared_place(members))

    def _merged(self, raw: bytes) -> tuple[dict[str, Raw], bool]:
        """The members of a call's context with what the request adds, and whether it adds anything."""
        members = _members.decode(raw) if raw else {}
        changed = False
        if self._context:
            members = self._context | members
            changed = True
        ip = members.get("ip")
        ip = self._ip if ip is None or bytes(ip) == b"null" else _cut(bytes(ip))
        if ip is not None:
            members["ip"] = ip
            changed = True
        if bytes(members.get("userAgent", NULL)) == b"null" and self._user_agent is not None:
            members["userAgent"] = self._user_agent
            changed = True
        user_agent = members.get("userAgent")
        if user_agent is not None and self._is_bot(bytes(user_agent)):
            members["bot"] = _TRUE
            changed = True
        if self._test:
            members["test"] = _TRUE
            changed = True
        return members, changed

    def _is_bot(self, user_agent: bytes) -> bool:
        known = bots.known(user_agent)
        if known is None and self._searches:
            self._searches -= 1
            known = bots.search(user_agent)
        return known is True

    def completed(self, kept: bytes, said: Mapping[str, str | None]) -> bytes:
        """A bad call as ``kept``, with what the request says for all its calls and its type and time of
        sending as ``said``: it can be collected again by itself. Without the write key, which lets others in.
        Empty where that makes it too long; what is no object stays as it is."""
        try:
            members = _members.decode(kept)
        except msgspec.DecodeError:
            return kept
        members.pop("writeKey", None)
        if said["type"] is not None:
            members["type"] = Raw(msgspec.json.encode(said["type"]))
        if said["sentAt"] is not None and bytes(members.get("sentAt", NULL)) == b"null":
            members["sentAt"] = Raw(msgspec.json.encode(said["sentAt"]))
        with suppress(BadRecord):  # what is wrong there stays as it is
            context, changed = self._merged(as_object(members.get("context", NULL), "context"))
            if changed:
                members["context"] = Raw(msgspec.json.encode(context))
        if self._integrations:
            with suppress(BadRecord):
                own = as_object(members.get("integrations", NULL), "integrations")
                merged = self._integrations | _members.decode(own or b"{}")
                members["integrations"] = Raw(msgspec.json.encode(merged))
        whole = msgspec.json.encode(members)
        return whole if len(whole) <= MAX_KEPT else b""


def kept(raw: bytes, cleaner: Cleaner, *, suspicious: bool) -> tuple[bytes, list[str]]:
    """A bad call as its dead letter may hold it, and the kinds of what was taken out: nothing of it where it
    can't be searched or is too long."""
    if len(raw) > MAX_KEPT:
        return b"", []
    try:
        cleaned, masked = cleaner.clean(raw) if suspicious else (raw, [])
    except BadRecord:
        return b"", []
    try:
        members = _members.decode(cleaned)
        context = _members.decode(members.get("context", NULL))
    except msgspec.ValidationError:
        pass  # no object, or none in it, so there is no address to cut
    else:
        if "ip" in context:
            context["ip"] = _cut(bytes(context["ip"]))
            members["context"] = Raw(msgspec.json.encode(context))
            cleaned = msgspec.json.encode(members)
    return cleaned if len(cleaned) <= MAX_KEPT else b"", masked


def id_masked(raw: bytes, kept: bytes) -> bool:
    """Whether one of the call's ids is not in its kept form what it was."""
    try:
        before, after = _members.decode(raw), _members.decode(kept)
    except msgspec.DecodeError:
        return True
    return any(
        msgspec.json.decode(before.get(name, NULL)) != msgspec.json.decode(after.get(name, NULL))
        for name in _IDS
    )


def as_object(raw: Raw, place: str) -> bytes:
    """The JSON of an object, empty for null and for one without members. Raises BadRecord("bad_field")."""
    if raw is NULL:
        return b""
    data = bytes(raw)
    if data[:1] == b"{":
        return b"" if data == b"{}" else data
    if data == b"null":
        return b""
    raise BadRecord("bad_field", f"Expected `object` - at `$.{place}`")


@remembered()
def _cut(address: bytes) -> Raw:
    """A member ``ip`` as it may be stored: null for what is no address."""
    try:
        return _text(truncated(msgspec.json.decode(address, type=str))) or NULL
    except msgspec.ValidationError:
        return NULL


@remembered()
def _recorded(address: str) -> Raw | None:
    """The address of a request as it may be stored."""
    return _text(truncated(address))


def _text(text: str | None) -> Raw | None:
    return None if text is None else Raw(msgspec.json.encode(text))
