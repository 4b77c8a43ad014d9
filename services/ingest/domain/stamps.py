"""What an event's context says of consent itself: Segment's SDKs in ``consent``, RudderStack's in
``consentManagement``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from services.kernel.outcome import BadRecord
from services.kernel.permission import MAX_STAMP, Stamp

_Member = TypeVar("_Member")


class _Consent(Struct, gc=False):
    categoryPreferences: dict[str, bool] | None = None


class _Managed(Struct, gc=False):
    """``allowedConsentIds``: some providers' come with a name for each id."""

    allowedConsentIds: list[str] | dict[str, str] | None = None
    deniedConsentIds: list[str] | None = None


_consent = msgspec.json.Decoder(_Consent | None)
_managed = msgspec.json.Decoder(_Managed | None)
_GPC = len(b',"gpc":true')
"""Bytes that the request may add to a stamp."""


def stamp_of(context: Mapping[str, Raw]) -> Stamp | None:
    """None where it says nothing; what both members say limits both. Raises BadRecord("bad_consent").

    A category that is not among those that an event lists is a no. RudderStack's SDKs list none as allowed
    while the person has not answered, which says nothing.
    """
    preferences = _read(context, "consent", _consent)
    managed = _read(context, "consentManagement", _managed)
    said = None if preferences is None else preferences.categoryPreferences
    lists = [] if said is None else [{name for name, is_allowed in said.items() if is_allowed}]
    denied: set[str] = set()
    if managed is not None:
        denied.update(managed.deniedConsentIds or ())
        if managed.allowedConsentIds:
            lists.append(set(managed.allowedConsentIds))
    if not lists and not denied:
        return None
    stamp = Stamp(tuple(sorted(set.intersection(*lists))) if lists else None, tuple(sorted(denied)))
    if len(stamp.to_header()) > MAX_STAMP - _GPC:
        places = "$.context.consent, $.context.consentManagement"
        raise BadRecord("bad_consent", f"{places}: more than {MAX_STAMP} bytes are allowed")
    return stamp


def _read(
    context: Mapping[str, Raw], member: str, decoder: msgspec.json.Decoder[_Member | None]
) -> _Member | None:
    if member not in context:
        return None
    try:
        return decoder.decode(context[member])
    except msgspec.ValidationError as error:
        raise BadRecord("bad_consent", f"{error} of context.{member}") from None
