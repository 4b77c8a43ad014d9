"""Names of members and of parameters, compared without regard to case and to what joins their words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from services.kernel.remembered import remembered

_SKIPPED = str.maketrans("", "", " -._+%[]\\\t\r\n\u00a0\u00ad\u200b\u200c\u200d\u2060\ufeff")
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[^\W\d_A-Z]+\d*|\d+")


@remembered()
def squeezed(name: str) -> str:
    """The name in NFKC and lower case, without separators."""
    return unicodedata.normalize("NFKC", name).translate(_SKIPPED).lower()


def joined(name: str) -> str:
    """The words of the name, in lower case and without separators."""
    return "".join(words(name))


def words(name: str) -> list[str]:
    """The words of a name in snake_case, kebab-case or camelCase, in lower case."""
    return [word.lower() for word in _WORD.findall(unicodedata.normalize("NFKC", name))]


class Names:
    """A set of names. One is in it when it or its last words are: ``token`` stands for
    ``access_token`` too."""

    def __init__(self, names: Iterable[str]) -> None:
        self.endings = frozenset(joined(name) for name in names)
        self._cached = remembered()(self._has)

    def __contains__(self, name: str) -> bool:
        return self._cached(name)

    def _has(self, name: str) -> bool:
        flat = squeezed(name)
        if flat in self.endings:
            return True
        parts = words(name)
        endings = ("".join(parts[i:]) for i in range(len(parts)))
        return any(ending in self.endings and flat.endswith(ending) for ending in endings)
