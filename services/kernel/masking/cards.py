"""Card numbers, track data and security codes in a text.

Payment Card Industry Data Security Standard 4: 3.3.1 (no security codes, no track data, after
authorisation), 3.4.1 (of the number, brand and last four digits at most).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from services.kernel.masking.issuers import LONGEST, SHORTEST, begins_number, brand

NUMBER = "number"
TRACK = "track"
CODE = "code"

ENDLESS = 64
"""Longer unbroken digit runs are masked whole: no id is that long, and the time must stay linear."""
_MOST_IN_GROUPS = LONGEST + 4
"""A number in groups, the last one with a code right behind it."""

# Digits of every script, those included that NFKC makes digits; what people and programs put between them.
_DIGIT = r"[\d²³¹⁰⁴-⁹₀-₉①-⑨⓪]"
_ASCII_SEPARATORS = r" \t\r\n/.+_\-"
_SEPARATOR = (
    f"(?:[{_ASCII_SEPARATORS}\u00a0\u00ad\u1680\u2000-\u200d\u2010-\u2015\u202f\u205f\u2060\u2212\u3000\ufe58\ufe63"
    "\ufeff\uff0b\uff0d\uff0e\uff0f\uff3f]|%(?:25)*20|&nbsp;)"
)
_RUN = re.compile(f"{_DIGIT}(?:{_SEPARATOR}{{0,3}}{_DIGIT}){{{SHORTEST - 1},}}")
_ASCII_RUN = re.compile(
    f"[0-9](?:(?:[{_ASCII_SEPARATORS}]|%(?:25)*20|&nbsp;){{0,3}}[0-9]){{{SHORTEST - 1},}}"
)
"""What it finds in texts of ASCII alone, in a third of the time."""
_TOKEN = re.compile(f"({_DIGIT}+)|{_SEPARATOR}+")
_TRACK_REST = re.compile(r"(?:\^[^^]{2,30}\^|=|[dD](?=\d{7}))\d{4,}[^\s?\"]*\??")
_EXPIRY_AND_CODE = re.compile(
    r"(?:\W{1,4}(?:exp\w{0,8}\W{0,3})?(?:0?[1-9]|1[0-2])[\s/.\-]{1,3}(?:20)?\d\d(?!\d))?"
    r"(?:\W{1,4}(?:cv\w{1,2}|csc|code)?\W{0,3}\d{3,4}(?!\d))?",
    re.IGNORECASE,
)
_NAMED_CODE = re.compile(
    r"(?<![a-z])((?:cv[vcn]2?|cvd2?|csc|security[\W_]?code|card[\W_]?code|"
    r"card[\W_]?verification[\W_]?(?:code|value|number))(?:[\W_]?(?:code|number|no|is))?[\W_]{1,8})\d{3,4}(?!\d)",
    re.IGNORECASE,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
"""ISO 13616."""
_PARCEL = re.compile(r"(?:420\d{5})?9[1-6]\d{20}|00\d{18}")
"""Parcels in the United States (USPS publication 199) and GS1's serial shipping container codes."""
_CODE_WORDS = ("cv", "csc", "code", "verif")
"""One of them stands in all that _NAMED_CODE matches; finding them takes a tenth of its time."""
_SHORTEST_TEXT = len("csc=123")


class _Group(NamedTuple):
    """An unbroken digit run: its place in the text, its digits in ASCII, the separator before it."""

    start: int
    end: int
    digits: str
    before: str


class _Found(NamedTuple):
    start: int
    end: int
    replacement: str


def mask(text: str) -> tuple[str, list[str]]:
    """The text without card data, and the kind of each thing taken out.

    A number is replaced by its brand and last four digits, and what follows it as expiry and code goes with
    it; track data go whole, and so do three or four digits behind a word for the security code.
    """
    if len(text) < _SHORTEST_TEXT:
        return text, []
    runs = _ASCII_RUN if text.isascii() else _RUN
    found = [card for run in runs.finditer(text) for card in _cards(text, run)]
    if found:
        found = _outside_accounts(text, found)
    parts: list[str] = []
    kinds: list[str] = []
    position = 0
    for i, card in enumerate(found):
        limit = found[i + 1].start if i + 1 < len(found) else len(text)
        track = _TRACK_REST.match(text, card.end, limit)
        rest = track or _EXPIRY_AND_CODE.match(text, card.end, limit)
        parts += (text[position : card.start], card.replacement)
        kinds.append(TRACK if track else NUMBER)
        position = rest.end() if rest else card.end
    if parts:
        text = "".join((*parts, text[position:]))
    folded = text.lower()
    if any(word in folded for word in _CODE_WORDS):
        text, codes = _NAMED_CODE.subn(r"\1***", text)
        kinds += [CODE] * codes
    return text, kinds


def _cards(text: str, run: re.Match[str]) -> Iterator[_Found]:
    """The card numbers of one run of digits and separators, from left to right. Groups are put together only
    where a number begins by issuer and check digit: 80 µs each, and a hostile body has a hundred thousand."""
    groups = _groups(text, run)
    digits = "".join([group.digits for group in groups])
    if _is_parcel(digits):
        return
    starts = list(accumulate((len(group.digits) for group in groups), initial=0))
    i = 0
    while i < len(groups):
        group = groups[i]
        card, last = None, i
        if len(group.digits) >= SHORTEST:
            card = None if _is_fraction(groups, i) else _in_one_run(group, text)
        elif begins_number(digits[starts[i] : starts[i] + LONGEST]):
            card, last = _in_groups(groups, i)
        if card is not None:
            yield card
            i = last
        i += 1


def _groups(text: str, run: re.Match[str]) -> list[_Group]:
    groups = []
    before = ""
    for token in _TOKEN.finditer(text, run.start(), run.end()):
        digits = token.group(1)
        if digits is None:
            before = token.group()
            continue
        if not digits.isascii():
            digits = "".join(str(unicodedata.digit(digit)) for digit in digits)
        groups.append(_Group(token.start(), token.end(), digits, before))
    return groups


def _in_one_run(group: _Group, text: str) -> _Found | None:
    """A card number in unbroken digits. From 20 on it may begin anywhere, unless a letter stands before them
    as in IBANs; it must begin shorter runs, of which ids have so many."""
    digits = group.digits
    if len(digits) > ENDLESS:
        return _Found(group.start, group.end, "[digits]")
    slides = len(digits) > LONGEST and not text[group.start - 1 : group.start].isalpha()
    for offset in range(len(digits) - 13 if slides else 1):
        found = _beginning(digits[offset:])
        if found is not None:
            return _Found(group.start + offset, group.end, found)
    return None


def _in_groups(groups: list[_Group], first: int) -> tuple[_Found | None, int]:
    """A card number in groups from ``first`` on, with its last group: the longest that fits exactly, else one
    whose last group goes on. Groups as cards are written: all of one size but the last, or none under four
    digits but the last."""
    digits = groups[first].digits
    size = smallest = len(digits)
    uniform = True
    exact: tuple[_Found, int] | None = None
    begun: tuple[_Found, int] | None = None
    for last in range(first + 1, len(groups)):
        part = groups[last].digits
        digits += part
        if len(digits) > _MOST_IN_GROUPS or not (uniform or smallest >= 4):
            break
        decimal = last == first + 1 and groups[last].before == "."
        shaped = smallest >= 4 or (uniform and len(part) <= size)
        replacement = _beginning(digits) if shaped and not decimal else None
        if replacement is not None:
            found = _Found(groups[first].start, groups[last].end, replacement), last
            if brand(digits) is not None:
                exact = found
            else:
                begun = begun or found
        uniform = uniform and len(part) == size
        smallest = min(smallest, len(part))
    return exact or begun or (None, first)


def _beginning(digits: str) -> str | None:
    """What stands for the card number that the digits are or, from 17 digits on, begin with."""
    lengths = (len(digits), 16, 15, 14) if len(digits) <= LONGEST else (16, 19, 18, 15, 14)
    for length in lengths if len(digits) > 16 else (len(digits),):
        name = brand(digits[:length])
        if name is not None:
            return f"[card {name} {digits[length - 4 : length]}]"
    return None


def _outside_accounts(text: str, found: list[_Found]) -> list[_Found]:
    """Without those that stand in a bank account number, which its own check digits tell (ISO 7064)."""
    for iban in _IBAN.finditer(text):
        account = iban.group().replace(" ", "")
        if int("".join(str(int(sign, 36)) for sign in account[4:] + account[:4])) % 97 == 1:
            found = [card for card in found if card.end <= iban.start() or card.start >= iban.end()]
    return found


def _is_parcel(digits: str) -> bool:
    """Whether they are the number of a parcel, by form and check digit (GS1). No card number begins so."""
    if not _PARCEL.fullmatch(digits):
        return False
    values = [int(digit) for digit in reversed(digits[-22:])]
    return (3 * sum(values[1::2]) + sum(values[::2])) % 10 == 0


def _is_fraction(groups: list[_Group], i: int) -> bool:
    """Whether the group is what stands behind the decimal point of a number such as 0.4485275642342216."""
    return groups[i].before == "." and len(groups[i - 1].digits) <= 3 and groups[i - 1].before != "."
