"""What is taken out of events beyond card data: names of secrets, parameters of URLs, formats of ids."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec
import yaml
from msgspec import Struct

from services.kernel.masking import cards
from services.kernel.masking.names import joined
from services.kernel.outcome import CandorError

_PROBES = ("4111 1111 1111 1111", "card 4111111111111111", "4111111111111111 12/28 737", "x=4111111111111111")
"""Texts with a card number that no format of an id may fit."""


class InvalidRules(CandorError):
    """The file is wrong; the message names file and place."""


class _Secrets(Struct, frozen=True, forbid_unknown_fields=True):
    names: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


class _Queries(Struct, frozen=True, forbid_unknown_fields=True):
    parameters: tuple[str, ...] = ()


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of deploy/ingest.yaml, which says what they mean."""

    version: Literal[1]
    secrets: _Secrets = _Secrets()
    queries: _Queries = _Queries()
    ids: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path) -> Rules:
        """Raises InvalidRules, naming file and place."""
        return cls.read(path.read_text(), path.name)

    @classmethod
    def read(cls, text: str, file: str) -> Rules:
        """The rules in that YAML. Raises InvalidRules, naming ``file`` and the place in it."""
        try:
            rules = msgspec.convert(yaml.safe_load(text), cls)
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            raise InvalidRules(f"{file}: {error}") from None
        for place, names in (
            ("secrets.names", rules.secrets.names),
            ("secrets.keep", rules.secrets.keep),
            ("queries.parameters", rules.queries.parameters),
            ("ids", rules.ids),
        ):
            for name in names:
                if len(joined(name)) < 3 or not joined(name).isascii():
                    raise InvalidRules(f"{file}: {place}: {name!r} needs three letters of a to z at least")
        for name, form in rules.ids.items():
            _check(form, f"{file}: ids.{name}")
        return rules


def _check(form: str, place: str) -> None:
    try:
        pattern = re.compile(form)
    except re.error as error:
        raise InvalidRules(f"{place}: no regular expression: {error}") from None
    if any(pattern.fullmatch(probe) and cards.mask(probe)[1] for probe in _PROBES):
        raise InvalidRules(f"{place}: the format fits texts with card numbers in them")
