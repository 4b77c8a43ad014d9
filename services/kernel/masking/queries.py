"""Parameters of URLs that tell of a person or let others in: their values go, wherever the URL stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from services.kernel.masking.names import Names
from services.kernel.masking.secrets import is_expiry

QUERY = "query"
"""Kind of a value taken out."""
HIDDEN = "***"

_SIGN = re.compile(
    r"([=?&#;\s,(\"'{/<>]|%(?:25)*(?:3[dDfFbBcCeE]|2[023678cCfF]|7[bB]|0[aAdD9]))",
)
"""What stands around names and values, as itself or in percent encoding: %3D is an equals sign, and %253D is
one in a URL within a parameter of a URL within a parameter."""
_ENDING = frozenset("&#;\"'<>")
"""With white space the signs that end a value, unless they are encoded more often than its equals sign."""
_NAME = re.compile(r"[\w.\-\[\]+]{1,80}")
_LONGEST_NAME = 3 * 80
_USER = re.compile(r"(?<=://)[^/?#\s\"]*@")
_ENCODED_USER = re.compile(
    r"(%(?:25)*2[fF]%(?:25)*2[fF])"
    r"(?:[^/?#\s\"&%]|%(?!(?:25)*(?:2[fF0236]|3[fF])))*(?:@|%(?:25)*40)"
)
_ENCODED_OFTEN = re.compile("%(?:25)+")


def decoded(text: str) -> str:
    """Out of percent encoding, however often the text was put into it."""
    return unquote(_ENCODED_OFTEN.sub("%", text)) if "%" in text else text


class Queries:
    """Cleans texts of the parameters with those names."""

    def __init__(self, parameters: Iterable[str]) -> None:
        self.names = Names(parameters)

    def clean(self, text: str, *, beside_card: bool = False) -> tuple[str, int]:
        """The text with ``***`` for the values of such parameters, and how many there were: for a card's
        expiry too, ``beside_card``.

        URLs within parameters are cleaned too, encoded or not; a user and password before the host go. All
        else stays as it is written, and the time is in proportion to the text.
        """
        users = 0
        if "@" in text:
            text, users = _USER.subn("", text)
        if "%" in text:
            text, more = _ENCODED_USER.subn(r"\1", text)
            users += more
        if "=" not in text and "%" not in text:
            return text, users
        pieces = _SIGN.split(text)
        kept: list[str] = []
        found = start = place = 0
        while place + 1 < len(pieces):
            sign = pieces[place + 1]
            if _character(sign) != "=" or not self._named(pieces[place], beside_card):
                place += 2
                continue
            end = place + 3
            while end < len(pieces) and not _ends(pieces[end], sign):
                end += 2
            if end > place + 3 or pieces[place + 2] not in ("", HIDDEN):
                kept += (*pieces[start : place + 2], HIDDEN)
                start = end
                found += 1
            place = end + 1
        return ("".join((*kept, *pieces[start:])), users + found) if found else (text, users)

    def _named(self, name: str, beside_card: bool) -> bool:
        name = decoded(name) if len(name) <= _LONGEST_NAME else ""
        if not _NAME.fullmatch(name):
            return False
        if name.endswith("]") and "[" in name:
            name = name[name.rindex("[") + 1 : -1] or name
        return name in self.names or (beside_card and is_expiry(name))


def _character(sign: str) -> str:
    return sign if len(sign) == 1 else chr(int(sign[-2:], 16))


def _ends(sign: str, equals: str) -> bool:
    character = _character(sign)
    return len(sign) <= len(equals) and (character in _ENDING or character.isspace())
