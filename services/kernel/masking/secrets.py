"""Members that are dropped for their names: card data, and what lets others in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from services.kernel.masking.names import Names, squeezed
from services.kernel.remembered import remembered

CARD = "key"
"""Kind of a member with card data."""
SECRET = "secret"  # noqa: S105 - a kind, not a secret

_CARD = re.compile(
    r"cv[vc]2?(?:code|number|num|no|value)?$"
    r"|^(?:card|cc|payment|billing)?(?:cv[nd]2?|csc)(?:code|number|num|no|value)?$"
    r"|^(?:card|creditcard|cc|payment|billing)?securitycode$"
    r"|(?<!gift)(?<!loyalty)(?<!member)(?<!membership)(?<!discount)(?<!bonus)(?<!club)(?<!reward)(?<!rewards)"
    r"card(?:number|num|no|nr|code|pin|(?:verification|validation)(?:code|number|value))$"
    r"|^(?:billing|payment)?cc(?:number|num|no|nr)$"
    r"|(?<!gift)(?:card|cc)(?:exp|expiry|expiration|expires)(?:date|month|year|mm|yy)*$"
    r"|(?:exp|expiry|expiration)(?:month|year)$"
)
"""Numbers, codes, and the expiry where its name leaves no doubt that it is that of a card."""
_EXPIRY = re.compile(
    r"^(?:card|creditcard|cc)?(?:exp|expiry|expiration|expires|validthru|validuntil)(?:date|month|year|mm|yy)*$"
)


class Dropped:
    """Says which members are dropped: names of secrets, and those among them to ``keep``."""

    def __init__(self, names: Iterable[str], keep: Iterable[str]) -> None:
        self.names = Names(names)
        self._kind = remembered()(self._by_name)
        self._keep = Names(keep)

    def kind(self, container: str, name: str, value: Any) -> str | None:
        """The kind of a member to drop, None for one to keep.

        ``container``: the name of what it stands in.
        """
        kind = self._kind(name)
        if kind is not SECRET:
            return kind
        kept = value is None or isinstance(value, bool) or f"{container}_{name}" in self._keep
        return None if kept else SECRET

    def _by_name(self, name: str) -> str | None:
        if _CARD.search(squeezed(name)):
            return CARD
        return SECRET if name in self.names and name not in self._keep else None


def is_expiry(name: str) -> bool:
    """Whether a member of that name is a card's expiry when it stands beside the number."""
    return _EXPIRY.search(squeezed(name)) is not None
