"""What a segment is, and the catalog: all segments together at one version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.kernel.predicate import Condition, Index, InvalidRule, Problem, check_fields, compile_rule

KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Definition:
    """What the owner of a segment writes. ``rule`` is JSON with sorted keys."""

    name: str
    purpose: str
    rule: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A definition with what became of it; ``catalog``: the catalog version it came with."""

    key: str
    version: int
    definition: Definition
    defined_at: int
    catalog: int
    deleted: bool
    condition: Condition = field(compare=False, repr=False)

    @classmethod
    def of(
        cls, key: str, version: int, definition: Definition, defined_at: int, catalog: int, deleted: bool
    ) -> Segment:
        """The segment with its rule compiled; raises InvalidRule unless the rule was checked before."""
        condition = compile_rule(msgspec.json.decode(definition.rule))
        return cls(key, version, definition, defined_at, catalog, deleted, condition)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All segments at a version, deleted ones too; ``index`` holds (key, purpose) of those that live."""

    version: int
    segments: Mapping[str, Segment]
    index: Index[tuple[str, str]]

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Catalog:
        by_key = {segment.key: segment for segment in segments}
        version = max((segment.catalog for segment in by_key.values()), default=0)
        index = Index(
            ((segment.key, segment.definition.purpose), segment.condition)
            for segment in by_key.values()
            if not segment.deleted
        )
        return cls(version, by_key, index)


def read_definition(key: str, data: Mapping[str, Any], purposes: Sequence[str]) -> Definition:
    """The definition that decoded JSON stands for. Raises InvalidRule with every problem at once."""
    problems: list[Problem] = []
    check_fields(data, "", ("name", "purpose", "rule"), ("key",), problems)
    if not KEY.fullmatch(key):
        problems.append(Problem("key", "expected 1 to 64 of a-z, 0-9, _ and -, not beginning with _ or -"))
    if data.get("key", key) != key:
        problems.append(Problem("key", "expected the key that the path names"))
    name, purpose = data.get("name"), data.get("purpose")
    if "name" in data and not (isinstance(name, str) and 0 < len(name) <= MAX_NAME and "\0" not in name):
        problems.append(Problem("name", f"expected a text of 1 to {MAX_NAME} characters"))
    if "purpose" in data and purpose not in purposes:
        problems.append(Problem("purpose", f"expected one of {', '.join(purposes)}"))
    if "rule" in data:
        try:
            compile_rule(data["rule"])
        except InvalidRule as error:
            problems += error.problems
    if problems:
        raise InvalidRule(problems)
    rule = msgspec.json.encode(data["rule"], order="deterministic").decode()
    return Definition(str(name), str(purpose), rule)
