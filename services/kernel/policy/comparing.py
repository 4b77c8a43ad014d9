"""What a change of the policy means for people, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from services.kernel.policy.model import Policy, Source, Trait

_MEANS = {
    (True, False): "who has not answered is no longer in",
    (False, True): "who has not answered is in from now on",
}


def differences(old: Policy, new: Policy) -> Iterator[str]:
    """One line for each change; none where people are asked and told the same, and judged alike."""
    yield from _names("purpose", old.purposes, new.purposes, "what it allowed is no longer allowed")
    yield from _regimes(old, new)
    if set(old.gpc.denies) != set(new.gpc.denies):
        yield f"GPC denies {_listed(new.gpc.denies)} (was {_listed(old.gpc.denies)})"
    if old.grants != new.grants:
        yield f"a yes holds for {new.grants.days} days (was {old.grants.days})"
    if old.controller != new.controller:
        yield "controller: changed"
    yield from _sources(old, new)
    yield from _texts(old, new)
    yield from _entries("event", old.catalog.events, new.catalog.events)
    yield from _entries("trait", old.catalog.traits, new.catalog.traits)


def _names(what: str, old: Any, new: Any, lost: str) -> Iterator[str]:
    for name in new:
        if name not in old:
            yield f"{what} {name}: new"
    for name in old:
        if name not in new:
            yield f"{what} {name}: gone; {lost}"


def _regimes(old: Policy, new: Policy) -> Iterator[str]:
    for place in sorted({*old.jurisdictions, *new.jurisdictions, "*"}):
        before, after = old.regime(place), new.regime(place)
        if before != after:
            means = _MEANS.get((old.default(place), new.default(place)))
            yield f"{place}: {after} (was {before})" + (f"; {means}" if means else "")


def _sources(old: Policy, new: Policy) -> Iterator[str]:
    for name in sorted({*old.sources, *new.sources}):
        before, after = old.place_of(name, None), new.place_of(name, None)
        if before != after:
            yield f"source {name}: its people are in {after or 'no known place'} (was {before or 'none'})"
        was, now = (policy.sources.get(name, Source()).purposes for policy in (old, new))
        if set(was) != set(now):
            yield f"source {name}: for {_listed(now or ['all'])} (was {_listed(was or ['all'])})"


def _texts(old: Policy, new: Policy) -> Iterator[str]:
    yield from _names("language", old.texts, new.texts, "people read the first language instead")
    for language in new.texts:
        if language not in old.texts:
            continue
        before, after = _leaves(old.texts[language]), _leaves(new.texts[language])
        for place in sorted(before.keys() | after.keys()):
            if before.get(place) != after.get(place):
                yield f"texts.{language}.{place}: {after.get(place)!r} (was {before.get(place)!r})"
        if old.text_hash(language) != new.text_hash(language):
            yield f"who reads {language} sees other texts than those of answers given before"


def _entries(what: str, old: Mapping[str, Trait], new: Mapping[str, Trait]) -> Iterator[str]:
    yield from _names(what, old, new, "it is shown as unlisted when it comes")
    for name, after in new.items():
        before = old.get(name)
        if before is None:
            continue
        if set(before.purposes) != set(after.purposes):
            yield f"{what} {name}: for {_listed(after.purposes)} (was {_listed(before.purposes)})"
        was, now = _told(before), _told(after)
        for part in sorted(was.keys() | now.keys()):
            if was.get(part) != now.get(part):
                yield f"{what} {name}: told otherwise: {part}"


def _told(entry: Trait) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(entry)
    del told["purposes"]
    fields = told.pop("fields", {})
    return told | {f"fields.{name}": text for name, text in fields.items()}


def _leaves(value: Any, place: str = "") -> dict[str, str]:
    value = msgspec.to_builtins(value)
    if not isinstance(value, dict):
        return {place: value}
    found: dict[str, str] = {}
    for name, member in value.items():
        found |= _leaves(member, f"{place}.{name}" if place else name)
    return found


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"
