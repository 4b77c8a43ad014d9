"""What must not be stored, taken out of JSON: a cheap look at the raw bytes, and the whole search only where
that finds something."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw

from services.kernel.masking import cards
from services.kernel.masking.issuers import SHORTEST, brand
from services.kernel.masking.look import Look
from services.kernel.masking.names import joined, squeezed
from services.kernel.masking.queries import HIDDEN, QUERY, Queries, decoded
from services.kernel.masking.rules import Rules
from services.kernel.masking.secrets import CARD, SECRET, Dropped, is_expiry
from services.kernel.outcome import BadRecord
from services.kernel.remembered import remembered

_SHORTEST_TEXT = len("x://a@")
_TELLING = re.compile(r"[0-9=@%{\[]|[^\x00-\x7f]")
"""One of them stands in every text that something is taken out of."""
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
_BETWEEN_DIGITS = re.compile(r"[\s/.+_\-]")
_LABELS = ("name", "key", "id", "field")
"""What names the member ``value`` beside it."""


class Cleaner:
    """Takes out what must not be stored, by those rules; the kinds of what it took out are those of cards.py,
    secrets.py and queries.py."""

    def __init__(self, rules: Rules) -> None:
        self._dropped = Dropped(rules.secrets.names, rules.secrets.keep)
        self._queries = Queries(rules.queries.parameters)
        self._ids = {joined(name): re.compile(form) for name, form in rules.ids.items()}
        self._name = remembered()(self._searched)
        look = Look(self._dropped.names.endings, self._queries.names.endings)
        self.harmless = look.harmless
        self.each = look.each
        self.suspicious = look.suspicious

    def clean(self, raw: bytes) -> tuple[bytes, list[str]]:
        """The JSON as it may be stored, and the kind of each thing taken out. Numbers keep their text.

        Raises BadRecord("unreadable") where it can't be read, so can't be searched.
        """
        kinds: list[str] = []
        try:
            return msgspec.json.encode(self._value(_DECODER.decode(raw), kinds)), kinds
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise BadRecord("unreadable", type(error).__name__) from None

    def text(self, text: str) -> tuple[str, list[str]]:
        """A text as it may be stored, and the kind of each thing taken out: all of it where it is JSON of
        more levels than can be searched."""
        try:
            return self._searched(text)
        except RecursionError:
            return HIDDEN, [SECRET]

    def changes(self, name: str, text: str) -> bool:
        """Whether something must be taken out of the text in a member of that name."""
        return not self._is_id(name, text) and bool(self.text(text)[1])

    def _searched(self, text: str) -> tuple[str, list[str]]:
        kinds: list[str] = []
        return self._text(text, kinds), kinds

    def _value(self, value: Any, kinds: list[str], container: str = "") -> Any:
        """The value as it may be stored; what was taken out is appended to ``kinds``."""
        if isinstance(value, str):
            return self._text(value, kinds, container)
        if isinstance(value, dict):
            return self._members(value, kinds, container)
        if isinstance(value, list):
            for i, item in enumerate(value):
                value[i] = self._value(item, kinds, container)
            return value
        if isinstance(value, Raw):
            return _fractional(value, kinds)
        if isinstance(value, int) and not isinstance(value, bool):
            return _whole(value, value, kinds)
        return value

    def _members(self, members: dict[str, Any], kinds: list[str], container: str) -> dict[str, Any]:
        result = {}
        card = False
        told = self._told(members, container) if "value" in members else None
        for name, value in members.items():
            kind = self._dropped.kind(container, name, value)
            if kind is None and told is not None and name == "value":
                kind = told
            if kind is not None:
                kinds.append(kind)
                card |= kind == CARD
                continue
            before = len(kinds)
            kept = value if self._is_id(name, value) else self._value(value, kinds, name)
            masked, found = self._name(name)
            kinds += found
            result[masked] = kept
            if len(kinds) > before and not isinstance(value, dict | list):
                card |= not {cards.NUMBER, cards.TRACK, cards.CODE}.isdisjoint(kinds[before:])
        if card:
            for name in [name for name in result if is_expiry(name)]:
                del result[name]
                kinds.append(CARD)
        return result

    def _told(self, members: dict[str, Any], container: str) -> str | None:
        """The kind of the member ``value`` by the name that stands beside it, as forms are serialised."""
        for label in _LABELS:
            name = members.get(label)
            if isinstance(name, str):
                kind = self._dropped.kind(container, name, members["value"])
                if kind is not None:
                    return kind
        return None

    def _is_id(self, name: str, value: Any) -> bool:
        """Whether that is a declared id: by its format, and only while it is no card number itself."""
        form = self._ids.get(squeezed(name)) if self._ids else None
        if form is None or not isinstance(value, str | int) or isinstance(value, bool):
            return False
        text = str(value)
        return form.fullmatch(text) is not None and brand(_BETWEEN_DIGITS.sub("", text)) is None

    def _text(self, text: str, kinds: list[str], container: str = "") -> str:
        if len(text) < _SHORTEST_TEXT or _TELLING.search(text) is None:
            return text
        if "{" in text or "[" in text:
            inner = text.strip("\ufeff \t\r\n")
            if inner[:1] in ("{", "[") and inner[-1:] in ("}", "]"):
                cleaned = self._nested(inner, kinds, container)
                if cleaned is not None:
                    return text if cleaned == inner else cleaned
        masked, found = cards.mask(text)
        if "%" in masked:
            masked = _masked_as(decoded(masked), masked, found)
        if "\\u" in masked:
            masked = _masked_as(_ESCAPED.sub(_character, masked), masked, found)
        masked, hidden = self._queries.clean(masked, beside_card=bool(found))
        kinds += found
        kinds += [QUERY] * hidden
        return masked

    def _nested(self, text: str, kinds: list[str], container: str) -> str | None:
        """A text that is JSON, unchanged where nothing is taken out; None for one that is not."""
        found: list[str] = []
        try:
            cleaned = msgspec.json.encode(self._value(_DECODER.decode(text), found, container)).decode()
        except (msgspec.MsgspecError, ValueError, OverflowError):
            return None
        kinds += found
        return cleaned if found else text


def _masked_as(read: str, text: str, found: list[str]) -> str:
    """The text as ``read`` otherwise, and masked, where only that shows card data."""
    masked, more = cards.mask(read)
    found += more
    return masked if more else text


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape.group(1), 16)).encode("utf-8", "replace").decode()


def _whole(number: int, unchanged: Any, kinds: list[str]) -> Any:
    """A whole number: as it was, or as text without the card number."""
    number = abs(number)
    if number.bit_length() > 4 * cards.ENDLESS:
        kinds.append(cards.NUMBER)
        return "[digits]"
    masked, found = cards.mask(str(number))
    kinds += found
    return masked if found else unchanged


def _fractional(number: Raw, kinds: list[str]) -> Any:
    """A number with a point or an exponent: only its whole part can be a card number."""
    text = bytes(number).decode()
    mantissa = re.split("[eE]", text)[0]
    if sum(character.isdigit() for character in mantissa) < SHORTEST:
        return number
    try:
        value = Decimal(text)
        whole = int(value) if value.adjusted() < cards.ENDLESS else 0
    except ArithmeticError:
        return number
    return _whole(whole, number, kinds)


# Numbers keep their text: floats as they stand, whole numbers beyond 64 bits too.
_DECODER = msgspec.json.Decoder(float_hook=lambda text: Raw(text.encode()))
