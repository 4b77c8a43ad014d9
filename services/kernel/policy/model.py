"""The policy as a value: what it says of a place, a source, an event, a language. Pure."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

EVERY = "*"
"""Stands for every purpose, those that the policy names later included."""
ANYWHERE = "*"
"""The jurisdiction of every place that no other covers."""

UNKNOWN = "ZZ"
"""A place that nobody can tell from what was declared, as in CLDR: no country has that code."""

Regime: TypeAlias = Literal["opt_in", "opt_out", "notice_only"]
Place: TypeAlias = str
"""A country (ISO 3166-1 alpha-2), or one of its regions: ``CC-RR`` (ISO 3166-2)."""
_PLACE = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
Text: TypeAlias = Annotated[str, Meta(min_length=1)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Told: TypeAlias = dict[str, Text]
"""A text by language."""


class Controller(Struct, frozen=True, forbid_unknown_fields=True):
    """Who answers for the data."""

    name: Text
    contact: Text
    privacy_url: Text


class Gpc(Struct, frozen=True, forbid_unknown_fields=True):
    denies: tuple[str, ...] = ()


class Grants(Struct, frozen=True, forbid_unknown_fields=True):
    days: Count = 180


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """``jurisdiction``: where the people of its events are that do not say so. ``purposes``: of its events
    that the catalog does not name; none stands for all."""

    jurisdiction: Place | None = None
    purposes: tuple[str, ...] = ()


class Banner(Struct, frozen=True, forbid_unknown_fields=True):
    title: Text
    body: Text
    accept: Text
    reject: Text
    choose: Text
    save: Text
    close: Text
    reopen: Text
    gpc: Text
    more: Text


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    description: Text


class Texts(Struct, frozen=True, forbid_unknown_fields=True):
    """All words in one language; purposes and recipients by id."""

    banner: Banner
    purposes: dict[str, Named]
    recipients: dict[str, Text] = {}
    direction: Literal["ltr", "rtl"] = "ltr"


class Trait(Struct, frozen=True, forbid_unknown_fields=True):
    """What is told of a trait. Without ``keep_days`` it is kept until the person has it erased."""

    purposes: Annotated[tuple[str, ...], Meta(min_length=1)]
    why: Told
    recipients: tuple[str, ...] = ()
    keep_days: Count | None = None


class CatalogEvent(Trait, frozen=True, forbid_unknown_fields=True):
    """What is told of an event; its fields are its properties."""

    fields: dict[str, Told] = {}


class Catalog(Struct, frozen=True, forbid_unknown_fields=True):
    """What is collected: events by name (other calls than track as ``$`` and type), traits by name."""

    events: dict[str, CatalogEvent] = {}
    traits: dict[str, Trait] = {}


class Basis(NamedTuple):
    """What the policy says of an event before anybody's answer. ``purposes``: what it is for, sorted.
    ``default``: whether no answer is a yes."""

    purposes: tuple[str, ...]
    default: bool


class Policy(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A policy that was checked (reading.py). It never changes; a new file makes a new one."""

    version: Count
    controller: Controller
    purposes: tuple[str, ...]
    texts: dict[str, Texts]
    gpc: Gpc = Gpc()
    grants: Grants = Grants()
    jurisdictions: dict[Place, Regime] = {}
    sources: dict[str, Source] = {}
    catalog: Catalog = Catalog()

    # --- who has not answered -------------------------------------------------------------------------

    def jurisdiction(self, place: Place | None) -> Place:
        """Which of the policy's jurisdictions covers a place: the region, else its country, else ``*``."""
        if place is not None:
            for covering in (place, place.partition("-")[0]):
                if covering in self.jurisdictions:
                    return covering
        return ANYWHERE

    def regime(self, place: Place | None) -> Regime:
        """opt_in where the policy says nothing."""
        return self.jurisdictions.get(self.jurisdiction(place), "opt_in")

    def default(self, place: Place | None) -> bool:
        """Whether a purpose is allowed there while the person has not answered."""
        return self.regime(place) != "opt_in"

    # --- events ---------------------------------------------------------------------------------------

    def place_of(self, source: str | None, declared: Place | None) -> Place | None:
        """Where an event's person is: as it declares, else as its source's people are, else unknown."""
        if declared is not None:
            return declared
        known = self.sources.get(source or "")
        return None if known is None else known.jurisdiction

    def purposes_of(self, source: str, event: str | None) -> frozenset[str]:
        """What an event is for. ``event``: its name in the catalog (:func:`catalog_name`)."""
        named = self.catalog.events.get(event or "")
        if named is not None:
            return frozenset(named.purposes)
        known = self.sources.get(source)
        return frozenset(known.purposes if known is not None and known.purposes else self.purposes)

    def basis(self, source: str, event: str | None, place: Place | None) -> Basis:
        """On what an event is judged that says it is from that place, None where it says nothing."""
        place = self.place_of(source, place)
        return Basis(tuple(sorted(self.purposes_of(source, event))), self.default(place))

    def profile_basis(self, place: Place | None) -> Basis:
        """On what the profile of somebody in that place is judged: every purpose."""
        return Basis(tuple(sorted(self.purposes)), self.default(place))

    # --- what people read -----------------------------------------------------------------------------

    def language(self, wanted: str | None) -> str:
        """The best of the policy's languages for a BCP 47 tag: the same, its base, else the first."""
        known = {language.lower(): language for language in self.texts}
        tag = (wanted or "").lower()
        while tag:
            if tag in known:
                return known[tag]
            tag = tag.rpartition("-")[0]
        return next(iter(self.texts))

    def text_hash(self, language: str) -> str:
        """Of all that somebody who is asked in that language can read before answering, SHA-256."""
        asked = self.purposes, self.texts[language], self.controller, self.gpc, self.grants
        return _sha256([language, *asked])

    @cached_property
    def hash(self) -> str:
        """Of all that people are asked or told, whatever the version, SHA-256."""
        return _sha256(msgspec.structs.replace(self, version=1))

    @cached_property
    def judged_by(self) -> str:
        """Of what decides on the purposes of a profile, SHA-256: profiles are folded anew when it changes."""
        return _sha256([sorted(self.purposes), self.jurisdictions])


def is_place(text: str) -> bool:
    return _PLACE.fullmatch(text) is not None


def catalog_name(type_: str, name: str | None) -> str:
    """Under which name the catalog has a call: a track call's own, else ``$`` and the type."""
    return name or "" if type_ == "track" else f"${type_}"


def _sha256(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
