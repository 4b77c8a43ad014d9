"""The tracking plan: what a source's events should hold, as JSON Schema by event name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jsonschema_rs
import msgspec
from msgspec import Raw, Struct

from services.ingest.domain.calls import GROUP, IDENTIFY, TRACK
from services.kernel.events import Event
from services.kernel.outcome import CandorError

ANY_SOURCE = "*"
"""Stands for the sources that have no part of their own."""
MAX_PLACE = 200
"""Characters of a violation's place: names in it are the sender's."""

Mode = Literal["report", "block"]


class InvalidPlan(CandorError):
    """The plan is wrong; the message names every place."""


class Violation(NamedTuple):
    """``detail``: the place in the event and what the plan expects there; no value of the event."""

    mode: Mode
    detail: str


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    sources: dict[str, Any]


class _Events(Struct, frozen=True, forbid_unknown_fields=True):
    events: dict[str, Any]
    mode: Mode = "report"
    unplanned: Literal["allow", "report", "block"] = "allow"


class _Planned(Struct, frozen=True, forbid_unknown_fields=True):
    schema: dict[str, Any]
    mode: Mode | None = None


class _Compiled(NamedTuple):
    unplanned: Literal["allow", "report", "block"]
    events: Mapping[str, tuple[Mode, Any]]


_members = msgspec.json.Decoder(dict[str, Raw])


class Plan:
    """A plan that was read from ``document``, plain values as YAML has them.

    ```
    version: 1
    sources:
      demo-web:             # or "*"
        mode: report        # or block: a violation makes a dead letter
        unplanned: allow    # or report, block: events that are not named here
        events:
          Order Completed:  # other calls than track: $identify, $page, $screen, $group, $alias
            schema: {required: [total], properties: {total: {type: number}}}
    ```
    A schema describes the properties, of identify and group the traits. Raises InvalidPlan.
    """

    def __init__(self, document: object) -> None:
        problems: list[str] = []
        read = _read(_Document, document, "", problems)
        self._sources = {
            name: _compiled(part, f"sources.{name}", problems)
            for name, part in (read.sources if read else {}).items()
        }
        if problems:
            raise InvalidPlan("\n".join(problems))

    def judge(self, event: Event) -> Violation | None:
        """The first thing in which an event departs from the plan, None where it does not."""
        source = self._sources.get(event.source) or self._sources.get(ANY_SOURCE)
        if source is None:
            return None
        name = planned_name(event.type, event.name)
        planned = source.events.get(name)
        if planned is None:
            if source.unplanned == "allow":
                return None
            return Violation(source.unplanned, "$.event: not in the plan")
        mode, validator = planned
        place = described(event.type)
        try:
            error = next(iter(validator.iter_errors(value_of(event.payload, place))), None)
        except ValueError:  # a number that no JSON Schema implementation can hold
            return Violation(mode, f"$.{place}: can not be read")
        return None if error is None else Violation(mode, _detail(place, error))


def planned_name(type_: str, name: str | None) -> str:
    """Under which name the plan has a call: a track call's own, else ``$`` and the type."""
    return name or "" if type_ == TRACK else f"${type_}"


def described(type_: str) -> str:
    """Which part of a call's payload a schema describes."""
    return "traits" if type_ in (IDENTIFY, GROUP) else "properties"


def value_of(payload: bytes, part: str) -> Any:
    """That part of the payload as plain values. Raises ValueError for numbers that don't fit."""
    raw = _members.decode(payload).get(part)
    return {} if raw is None else msgspec.json.decode(raw)


_T = TypeVar("_T")


def _read(kind: type[_T], value: object, place: str, problems: list[str]) -> _T | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problems.append(f"{place or 'the plan'}: {error}")
        return None


def _compiled(part: object, place: str, problems: list[str]) -> _Compiled:
    source = _read(_Events, part, place, problems)
    events: dict[str, tuple[Mode, Any]] = {}
    for name, planned in (source.events if source else {}).items():
        where = f"{place}.events.{name}"
        read = _read(_Planned, planned, where, problems)
        if source and read:
            events[name] = read.mode or source.mode, _validator(read.schema, f"{where}.schema", problems)
    return _Compiled(source.unplanned if source else "allow", events)


def _validator(schema: dict[str, Any], place: str, problems: list[str]) -> Any:
    """Never reads a schema from elsewhere."""
    try:
        return jsonschema_rs.validator_for(schema, offline=True)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        where = "".join(f".{part}" for part in getattr(error, "instance_path", ()))
        problems.append(f"{place}{where}: {str(error).partition(chr(10))[0]}")
        return None


def _detail(place: str, error: Any) -> str:
    path: Sequence[str | int] = error.instance_path
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"$.{place}{steps}"[:MAX_PLACE] + ": " + _expected(error.kind.name, error.kind.as_dict())


def _expected(keyword: str, fields: Mapping[str, Any]) -> str:
    """In the plan's words, and names of members; never a value."""
    match keyword:
        case "type":
            return f"expected {' or '.join(fields['types'])}"
        case "required":
            return f"{fields['property']} is missing"
        case "additionalProperties" | "unevaluatedProperties":
            return f"{_listed(fields['unexpected'])} is not in the plan"
        case _:
            return f"breaks {keyword}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)[:MAX_PLACE]
