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
    r"|^(?:card|cc|payment|billing)?(?:cv[nd]2?|csc|cav2)(?:code|number|num|no|value)?$"
    r"|^(?:card|creditcard|cc|payment|billing)?securitycode$"
    r"|^(?:card|mag|magnetic)?track[12]?data$"
    r"|(?<!gift)(?<!loyalty)(?<!member)(?<!membership)(?<!discount)(?<!bonus)(?<!club)(?<!reward)(?<!rewards)"
    r"card(?:number|num|no|nr|code|pin|security|(?:verification|validation)(?:code|number|value)|verification)$"
    r"|^(?:billing|payment)?cc(?:number|num|no|nr)$"
    r"|(?<!gift)(?:card|cc)(?:exp|expiry|expiration|expires)(?:date|month|year|mm|yy)*$"
    r"|(?:exp|expiry|expiration)(?:month|year)$"
)
"""Numbers, codes, and the expiry where its name leaves no doubt that it is that of a card."""
_OF_CARD = re.compile(r"^(?:credit|debit|bank|payment|billing)?(?:card|cc)(?:data|details|info)?s?$")
_EXPIRY_IN_CARD = re.compile(r"^(?:exp|expiry|expiration|expires)(?:date|month|year|mm|yy)*$")
_CODE_IN_CARD = re.compile(r"^(?:code|pin|security|verification)$")
"""Short names that are those of card data in a member named like a card."""
_CODE = re.compile(r"\d{3,6}")
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
        if kind is None and container and _is_of_card(container):
            return CARD if _is_in_card(name, value) else None
        if kind is not SECRET:
            return kind
        kept = value is None or isinstance(value, bool) or f"{container}_{name}" in self._keep
        return None if kept else SECRET

    def _by_name(self, name: str) -> str | None:
        if _CARD.search(squeezed(name)):
            return CARD
        return SECRET if name in self.names and name not in self._keep else None


@remembered()
def _is_of_card(container: str) -> bool:
    return _OF_CARD.match(squeezed(container)) is not None


def _is_in_card(name: str, value: Any) -> bool:
    """A code by its form too: cards of a page have codes of their own."""
    short = squeezed(name)
    if _CODE_IN_CARD.match(short):
        return _CODE.fullmatch(str(value).strip()) is not None
    return _EXPIRY_IN_CARD.match(short) is not None


def is_expiry(name: str) -> bool:
    """Whether a member of that name is a card's expiry when it stands beside the number."""
    return _EXPIRY.search(squeezed(name)) is not None
