"""The cheap look at raw bytes of JSON that decides whether anything in them needs the whole search.

It may be wrong in one direction only: what :class:`services.kernel.masking.cleaner.Cleaner` would take out is
never let pass. For 1 KB in a batch it takes less than json.loads does, with five ids four times as much
(`make bench-masking`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from urllib.parse import unquote_to_bytes

import msgspec
from ahocorasick_rs import BytesAhoCorasick, MatchKind

from services.kernel.masking import cards
from services.kernel.masking.issuers import LONGEST, PREFIXES, SHORTEST, begins_number, hides_number
from services.kernel.masking.queries import decoded


def _search(words: Iterable[bytes]) -> BytesAhoCorasick:
    """All in one pass. Only with leftmost matches does it use SIMD: 0.2 µs a KB for fifty words, where
    looking for each in turn takes 0.5."""
    return BytesAhoCorasick(list(words), matchkind=MatchKind.LeftmostFirst)


_SKIPPED = b" -._+/%[]\\\t\r\n" + bytes(range(0x80, 0x100))
"""What may stand between the digits of a number or the words of a name: taken out before looking."""
_FLAT = bytes(range(256)).lower().translate(bytes.maketrans(b"123456789", b"000000000"))
_DIGITS = _search([b"0" * SHORTEST])
_GROUP = 10
_LARGE = b"0" * 20
"""Digits of whole numbers that may not fit into 64 bits."""
_RUNS = 2
"""Of digits. Beyond so many, and one for each 2 KB, it takes less to look at how the digits are written than
to try whether each hides a number."""
_DIGIT_RUN = re.compile(rb"0+")
_CARD_NAMES = (
    "cvv", "cvc", "cvn", "cvd", "csc", "ccno", "ccnu", "ccnr", "ccexp", "curityc", "cardno", "cardnu",
    "cardnr", "cardco", "cardcs", "cardcv", "cardsec", "cardva", "cardve", "cardpin", "cardexp", "cav2",
    "kdata", "k1data",
)  # fmt: skip
"""A piece of every name of card data but two."""
_CARDS = (
    'card":', 'cards":', "carddata", "carddetails", "cardinfo",
    'cc":', 'ccs":', "ccdata", "ccdetails", "ccinfo",
)  # fmt: skip
"""How members end that are named like a card."""
_IN_CARD = re.compile(rb'"(?:code|pin|security|verification|exp[a-z]*)"')
"""The short names that are those of card data in there."""
_EXPIRY_ENDINGS = ("month", "year")
"""How those two end."""
_ODD_PERCENT = re.compile(rb"%(?!2[02367FfCc]|3[AaDdFf]|40|7[Cc])")
"""Percent escapes of more than the punctuation that is common in URLs."""
_ENCODED_EQUALS = b"0d"
"""What is left of %3D."""
_NO_USER = re.compile(rb'[/?#\s"]')
"""What ends the host of a URL, so that no user stands before an @ after it."""
_ESCAPED_SPACE = re.compile(rb"\\+[ntr/]")
"""JSON within texts escapes its backslashes again."""
_ESCAPED_SLASH = re.compile(rb"\\+/")
_ENCODED_USER = re.compile(rb'%(?:25)*2[Ff]%(?:25)*2[Ff](?:[^/?#\s"%]|%(?!(?:25)*2[Ff]))*(?:@|%(?:25)*40)')
_SEPARATORS = b".+_-/\t\r\n"
_SPACED = bytes.maketrans(_SEPARATORS, b" " * len(_SEPARATORS))
_PLAIN = bytes.maketrans(b"123456789" + _SEPARATORS, b"0" * 9 + b" " * len(_SEPARATORS))
_WRITTEN = re.compile(rb"0[0 ]{%d,}" % (SHORTEST - 1))
"""What a number may be written in, once digits and separators are replaced by ``_PLAIN``."""
_AROUND = 48
"""Characters around a number that may tell that it is none: longer than any account number."""
_HUGE = re.compile(rb"0e000+(?:[,}]|$)")
"""A number with an exponent of three digits."""
_EXPONENT = re.compile(rb"\.\d+[eE]")
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")


class Look:
    """Looks for card data, for members whose names end with ``names`` and parameters that end with
    ``parameters``."""

    def __init__(self, names: Iterable[str], parameters: Iterable[str]) -> None:
        words = [_flat(name) for name in (*names, *_EXPIRY_ENDINGS)]
        self._words = _search(words)
        self._members = [word + b'":' for word in words]
        self._values = [word + b'"' for word in words]
        self._card_names = _search(_flat(name) for name in _CARD_NAMES)
        self._cards = _search(_flat(name) for name in _CARDS)
        self._parameters = _search(_flat(name) + b"=" for name in parameters)

    def harmless(self, body: bytes) -> bool:
        """Whether one look shows that nothing in that JSON is to be taken out, and that no number in it is
        too large and no text holds NUL."""
        if not _simple(body):
            return False
        flat = _flattened(body)
        return not self._holds(body, flat) and not _large(flat)

    def suspicious(self, raw: bytes) -> bool:
        """Whether something in that JSON may have to be taken out."""
        if _simple(raw):
            return self._holds(raw, _flattened(raw))
        try:
            text = unicodedata.normalize("NFKC", msgspec.json.encode(msgspec.json.decode(raw)).decode())
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return True
        return "\\u" in text or self._seen(text) or ("%" in text and self._seen(_unquoted(text)))

    def each(self, calls: Sequence[bytes]) -> Iterator[tuple[bool, bool]]:
        """Of each call of a body whether it is harmless and, where it is not, whether it is suspicious. By
        groups first: of most bodies that are not harmless, one call is not."""
        for start in range(0, len(calls), _GROUP):
            group = calls[start : start + _GROUP]
            if len(group) > 1 and self.harmless(b",".join(group)):
                yield from repeat((True, False), len(group))
            else:
                yield from map(self._each, group)

    def _each(self, raw: bytes) -> tuple[bool, bool]:
        if not _simple(raw):
            return False, self.suspicious(raw)
        flat = _flattened(raw)
        suspicious = self._holds(raw, flat)
        return not suspicious and not _large(flat), suspicious

    def _holds(self, raw: bytes, flat: bytes) -> bool:
        """Whether something may have to be taken out of what is simple."""
        if self._named(flat) or self._in_urls(raw, flat):
            return True
        raw, flat = _spaced(raw, flat)
        return _numbered(raw, flat) and (bool(_EXPONENT.search(raw)) or _has_card(raw))

    def _named(self, flat: bytes) -> bool:
        if self._card_names.find_matches_as_indexes(flat):
            return True
        if self._cards.find_matches_as_indexes(flat) and _IN_CARD.search(flat):
            return True
        # Seldom: to look for them with their quotes at once would take twenty times as long.
        if not self._words.find_matches_as_indexes(flat):
            return False
        return any(name in flat for name in self._members) or (
            b'"value":' in flat and any(name in flat for name in self._values)
        )

    def _in_urls(self, raw: bytes, flat: bytes) -> bool:
        """Whether one of the parameters stands there, or a user before a host."""
        escaped = b"%" in raw  # one byte is found in no time, two take 1 µs a KB
        if escaped and (b"3D" in raw or b"3d" in raw):
            flat = flat.replace(_ENCODED_EQUALS, b"=")
        if b"=" in flat and self._parameters.find_matches_as_indexes(flat):
            return True
        if _names_user(raw):
            return True
        return escaped and _ENCODED_USER.search(raw) is not None

    def _seen(self, text: str) -> bool:
        raw = text.encode()
        flat = _flattened(raw)
        return (
            self._named(flat)
            or self._in_urls(raw, flat)
            or _numbered(*_spaced(raw, flat))
            or _FOREIGN_DIGIT.search(text) is not None
        )


def _spaced(raw: bytes, flat: bytes) -> tuple[bytes, bytes]:
    """Both as numbers are looked for in them."""
    spaced = _with_spaces(raw)
    return (raw, flat) if spaced is raw else (spaced, _flattened(spaced))


def _has_card(raw: bytes) -> bool:
    """Whether a card number is found where digits stand; the search of everything takes 70 µs a KB. With
    escapes it is looked for in the bytes as they are, whose escapes may lend digits, and in those decoded."""
    if b"%" not in raw:
        return _is_written(raw, raw)
    spaced = raw.replace(b"%20", b"   ")
    decoded = unquote_to_bytes(raw)
    return _is_written(raw, raw) or _is_written(spaced, raw) or _is_written(decoded, decoded)


def _is_written(spaced: bytes, raw: bytes) -> bool:
    """``spaced``: ``raw`` with spaces where escaped ones stand."""
    for found in _WRITTEN.finditer(spaced.translate(_PLAIN)):
        start, end = found.span()
        if (
            _may_begin(spaced[start:end].translate(_SPACED).decode().split())
            and _masks(raw[start:end])
            and _masks(raw[max(0, start - _AROUND) : end + _AROUND])
        ):
            return True
    return False


def _masks(text: bytes) -> bool:
    return bool(cards.mask(text.decode("ascii", "replace"))[1])


def _may_begin(groups: list[str]) -> bool:
    """Whether a card number may begin with one of those groups of digits: cards.py looks nowhere else, but
    in groups that are longer than any."""
    digits = "".join(groups)
    start, last = 0, len(digits) - SHORTEST
    for group in groups:
        if start > last:
            return False
        if len(group) > LONGEST:
            if len(group) >= cards.ENDLESS or hides_number(group):
                return True
        elif digits[start : start + 4] in PREFIXES and begins_number(digits[start : start + LONGEST]):
            return True
        start += len(group)
    return False


def _large(flat: bytes) -> bool:
    """Whether a number may be too large. Those in texts stand behind a quotation mark."""
    if _LARGE in flat and (b":" + _LARGE in flat or b"," + _LARGE in flat or flat.startswith(_LARGE)):
        return True
    return _HUGE.search(flat) is not None


def _flat(name: str) -> bytes:
    return name.encode().translate(_FLAT, _SKIPPED)


def _simple(raw: bytes) -> bool:
    """Whether digits and names stand in the bytes as themselves."""
    escaped = b"\\" in raw and b"\\u" in raw
    return not escaped and raw.isascii() and not (b"%" in raw and _ODD_PERCENT.search(raw))


def _names_user(raw: bytes) -> bool:
    """Whether a user stands before the host of a URL. From each @ back to the one before it: URLs are many,
    these are few."""
    before, at = 0, raw.find(b"@")
    if at >= 0 and b"\\" in raw:
        raw = _ESCAPED_SLASH.sub(b"/", raw)
        at = raw.find(b"@")
    while at >= 0:
        scheme = raw.rfind(b"://", before, at)
        if scheme >= 0 and _NO_USER.search(raw, scheme + 3, at) is None:
            return True
        before, at = at, raw.find(b"@", at + 1)
    return False


def _flattened(raw: bytes) -> bytes:
    """In lower case, every digit 0, without what is skipped."""
    return _without_spaces(raw).translate(_FLAT, _SKIPPED)


def _without_spaces(raw: bytes) -> bytes:
    """Without percent-encoded spaces, whose digits are none of a number."""
    return raw.replace(b"%20", b"") if b"%" in raw else raw


def _with_spaces(raw: bytes) -> bytes:
    """With spaces for the other separators that are written in several signs: the same object where there are
    none. Not for names, of which a letter may stand behind a backslash."""
    if b"\\" in raw:
        raw = _ESCAPED_SPACE.sub(b" ", raw)
    if b"%" in raw:
        raw = raw.replace(b"%2F", b" ").replace(b"%2f", b" ")
    return raw.replace(b"&nbsp;", b" ") if b"&" in raw else raw


def _unquoted(text: str) -> str:
    return unicodedata.normalize("NFKC", decoded(text))


def _digits(raw: bytes) -> str:
    return raw.translate(None, _SKIPPED).decode("ascii")


def _numbered(raw: bytes, flat: bytes) -> bool:
    """Whether the digits of a card number may stand in a row, or endless ones: those of the times in
    milliseconds that browsers send everywhere seldom do."""
    found = _DIGITS.find_matches_as_indexes(flat)
    if not found:
        return False
    if len(found) > _RUNS + len(raw) // 2048:
        return True
    digits = _digits(_without_spaces(raw))
    end = 0
    for _, start, _ in found:
        if start < end:
            continue
        end = _DIGIT_RUN.match(flat, start).end()  # type: ignore[union-attr]
        if end - start >= cards.ENDLESS or hides_number(digits[start:end]):
            return True
        if flat[end : end + 2] == b"e0" and _EXPONENT.search(raw):
            return True  # the last digits may be zeros, which stand in the exponent
    return False
