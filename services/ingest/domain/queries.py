"""Parameters of URLs that tell of a person or let others in: their values go, wherever the URL stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from services.ingest.domain.names import Names

QUERY = "query"
"""Kind of a value taken out."""
HIDDEN = "***"

_PAIR = re.compile(r"(?:^|(?<=[?&#;\s,(\"'{/]))([\w.\-\[\]%+]{1,80})=([^&#;\s\"'<>]+)")
_PASSWORD = re.compile(r"(?<=://)[^/?#\s\"]*@")
_ENCODED = re.compile("%(?:25)*3[dD]")


class Queries:
    """Cleans texts of the parameters with those names."""

    def __init__(self, parameters: Iterable[str]) -> None:
        self.names = Names(parameters)

    def clean(self, text: str) -> tuple[str, int]:
        """The text with ``***`` for the values of such parameters, and how many there were.

        URLs within parameters are cleaned too, encoded or not; a user and password before the host go.
        """
        found = 0
        if "@" in text:
            text, found = _PASSWORD.subn("", text)
        if "=" not in text:
            return self._encoded(text, found)

        def pair(match: re.Match[str]) -> str:
            nonlocal found
            name, value = match.groups()
            if value == HIDDEN:
                return match.group()
            if self._named(name):
                found += 1
                return f"{name}={HIDDEN}"
            if "=" in value:
                value, more = self.clean(value)
            else:
                value, more = self._encoded(value, 0)
            found += more
            return f"{name}={value}" if more else match.group()

        return _PAIR.sub(pair, text), found

    def _encoded(self, text: str, found: int) -> tuple[str, int]:
        """A text that may be a URL in percent encoding."""
        if "%" not in text or _ENCODED.search(text) is None:
            return text, found
        cleaned, more = self.clean(unquote(text))
        return (quote(cleaned, safe=HIDDEN), found + more) if more else (text, found)

    def _named(self, name: str) -> bool:
        if "%" in name:
            name = unquote(name)
        if name.endswith("]") and "[" in name:
            name = name[name.rindex("[") + 1 : -1] or name
        return name in self.names
