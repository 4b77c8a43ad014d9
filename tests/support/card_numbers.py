"""Made-up card numbers of twelve brands, and the ways people write them."""

from __future__ import annotations

import random

BRANDS: dict[str, tuple[str, int]] = {
    "visa": ("4", 16),
    "mastercard": ("55", 16),
    "mastercard 2-series": ("2300", 16),
    "amex": ("37", 15),
    "diners": ("36", 14),
    "discover": ("6011", 16),
    "jcb": ("3530", 16),
    "unionpay": ("62", 19),
    "maestro": ("6759", 16),
    "mir": ("2202", 16),
    "elo": ("5067", 16),
    "hipercard": ("6062", 16),
    "visa 19": ("4", 19),
}
SEPARATORS = ["", " ", "-", ".", "\u00a0", "\u2011", "%20", "+", " - ", "/", "\n", "\t", "&nbsp;"]
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


def card_number(name: str, chance: random.Random) -> str:
    """A number of that brand whose check digit fits."""
    prefix, length = BRANDS[name]
    digits = prefix + "".join(str(chance.randrange(10)) for _ in range(length - 1 - len(prefix)))
    total = sum(
        int(digit) if i % 2 else sum(divmod(2 * int(digit), 10)) for i, digit in enumerate(reversed(digits))
    )
    return digits + str(-total % 10)


def grouped(number: str, separator: str) -> str:
    """As printed on the card: 4-6-5 or 4-6-4 where it has 15 or 14 digits, else fours."""
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(len(number), (4, 4, 4, 4, 4))
    parts = []
    for size in sizes:
        parts.append(number[:size])
        number = number[size:]
    return separator.join(part for part in parts if part)
