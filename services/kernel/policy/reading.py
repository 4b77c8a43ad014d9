"""Reading the policy file: its shape, then what its parts say of each other. Every problem names its line.

All scalars are taken as text and converted where a number is wanted: in YAML 1.1 the country NO is a no.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from services.kernel.outcome import CandorError
from services.kernel.policy.model import ANYWHERE, EVERY, Policy, Told, is_place

_PURPOSE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")

Path_ = tuple[str, ...]


class InvalidPolicy(CandorError):
    """The policy file is wrong; the message has a line for every problem: file, line, place, what is
    wrong."""


def load(path: Path) -> Policy:
    """Raises InvalidPolicy."""
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPolicy(f"{path.name}: {error}") from error


def parse(text: str, name: str) -> Policy:
    """The policy of a file's text; ``name`` is the file's in what is said of it. Raises InvalidPolicy."""
    try:
        root = yaml.compose(text, yaml.CSafeLoader)
        document = _Document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InvalidPolicy(f"{name}:{line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidPolicy(f"{name}: {error}") from error
    problems = document.problems or list(_shape(document.value, Policy, ()))
    if not problems:
        policy = msgspec.convert(document.value, Policy, strict=False)
        problems = list(_meaning(policy))
        if not problems:
            return policy
    lines = sorted({(document.line(path), _dotted(path), what) for path, what in problems})
    raise InvalidPolicy("\n".join(f"{name}:{line}: {place}{what}" for line, place, what in lines))


def _dotted(path: Path_) -> str:
    return f"{'.'.join(path)}: " if path else ""


class _Document:
    """Plain values of a YAML tree, and on which line each stands."""

    def __init__(self, root: Node | None) -> None:
        self.problems: list[tuple[Path_, str]] = []
        self._lines: dict[Path_, int] = {(): 1}
        self.value = self._plain(root, ())

    def line(self, path: Path_) -> int:
        """Of what stands there, else of what it is missing from."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def _plain(self, node: Node | None, path: Path_) -> Any:
        if isinstance(node, MappingNode):
            return {name: self._plain(value, (*path, name)) for name, value in self._members(node, path)}
        if isinstance(node, SequenceNode):
            for number, item in enumerate(node.value):
                self._lines[*path, str(number)] = item.start_mark.line + 1
            return [self._plain(item, (*path, str(number))) for number, item in enumerate(node.value)]
        return node.value if isinstance(node, ScalarNode) else None

    def _members(self, node: MappingNode, path: Path_) -> Iterator[tuple[str, Node]]:
        for key, value in node.value:
            place = (*path, str(key.value))
            twice = place in self._lines
            self._lines[place] = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                self.problems.append((path, "a name must be plain text"))
            elif twice:
                self.problems.append((place, "stands here twice"))
            else:
                yield key.value, value


# --- shape --------------------------------------------------------------------------------------------


def _shape(value: Any, kind: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    """Where a value is not of that type: as deep as the place can be told."""
    try:
        msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        parts = list(_parts(value, kind, path))
        yield from parts or [(path, re.sub(r" - at `.*`$", "", str(error)))]


def _parts(value: Any, kind: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    inner = get_args(kind)[0] if get_origin(kind) is not dict and hasattr(kind, "__metadata__") else kind
    if isinstance(value, dict) and get_origin(inner) is dict:
        for name, member in value.items():
            yield from _shape(member, get_args(inner)[1], (*path, name))
    elif isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, Struct):
        hints = get_type_hints(inner, include_extras=True)
        for name, member in value.items():
            if name in inner.__struct_fields__:
                yield from _shape(member, hints[name], (*path, name))
            else:
                yield (*path, name), f"unknown; known are {', '.join(inner.__struct_fields__)}"
        for field in msgspec.structs.fields(inner):
            if field.required and field.name not in value:
                yield path, f"{field.name} is missing"


# --- meaning ------------------------------------------------------------------------------------------


def _meaning(policy: Policy) -> Iterator[tuple[Path_, str]]:
    yield from _purposes(policy)
    for place in policy.jurisdictions:
        if place != ANYWHERE:
            yield from _place(place, ("jurisdictions", place))
    for name, source in policy.sources.items():
        yield from _known(source.purposes, policy.purposes, "purpose", ("sources", name, "purposes"))
        if source.jurisdiction is not None:
            yield from _place(source.jurisdiction, ("sources", name, "jurisdiction"))
    yield from _texts(policy)
    yield from _catalog(policy)


def _purposes(policy: Policy) -> Iterator[tuple[Path_, str]]:
    if not policy.purposes:
        yield ("purposes",), "expected at least one"
    for number, name in enumerate(policy.purposes):
        if not _PURPOSE.fullmatch(name):
            yield ("purposes", str(number)), f"{name!r} can not be a purpose's name"
        if name in policy.purposes[:number]:
            yield ("purposes", str(number)), f"{name} stands here twice"
    yield from _known(policy.gpc.denies, (*policy.purposes, EVERY), "purpose", ("gpc", "denies"))


def _place(place: str, path: Path_) -> Iterator[tuple[Path_, str]]:
    if not is_place(place):
        yield path, f"{place!r} is no country such as DE, nor a region of one such as US-CA"


def _known(names: Iterable[str], known: Iterable[str], what: str, path: Path_) -> Iterator[tuple[Path_, str]]:
    for number, name in enumerate(names):
        if name not in known:
            yield (*path, str(number)), f"{name!r} is no {what} of this policy"


def _texts(policy: Policy) -> Iterator[tuple[Path_, str]]:
    if not policy.texts:
        yield ("texts",), "expected at least one language"
    recipients = {name for texts in policy.texts.values() for name in texts.recipients}
    for language, texts in policy.texts.items():
        if not _LANGUAGE.fullmatch(language):
            yield ("texts", language), f"{language!r} is no language such as en or pt-BR"
        yield from _same(texts.purposes, policy.purposes, ("texts", language, "purposes"))
        yield from _same(texts.recipients, recipients, ("texts", language, "recipients"))


def _same(found: Mapping[str, Any], wanted: Iterable[str], path: Path_) -> Iterator[tuple[Path_, str]]:
    for name in wanted:
        if name not in found:
            yield path, f"{name} is missing"
    for name in found:
        if name not in wanted:
            yield (*path, name), "stands nowhere else"


def _catalog(policy: Policy) -> Iterator[tuple[Path_, str]]:
    recipients = next(iter(policy.texts.values())).recipients if policy.texts else {}
    parts = (("events", policy.catalog.events), ("traits", policy.catalog.traits))
    for part, entries in parts:
        for name, entry in entries.items():
            path = ("catalog", part, name)
            yield from _known(entry.purposes, policy.purposes, "purpose", (*path, "purposes"))
            yield from _known(entry.recipients, recipients, "recipient", (*path, "recipients"))
            yield from _told(entry.why, policy, (*path, "why"))
    for name, event in policy.catalog.events.items():
        for field, told in event.fields.items():
            yield from _told(told, policy, ("catalog", "events", name, "fields", field))


def _told(told: Told, policy: Policy, path: Path_) -> Iterator[tuple[Path_, str]]:
    yield from _same(told, policy.texts, path)
