"""Who issues a card number: prefixes and lengths as the networks publish them (ISO/IEC 7812), check digit
by ISO/IEC 7812-1 annex B ("Luhn"). No 13-digit Visa: none is left, and ids of 13 digits are many."""

from __future__ import annotations

SHORTEST = 12
LONGEST = 19

_LONG = (16, 17, 18, 19)
_BRANDS: tuple[tuple[str, tuple[int, ...], tuple[str, ...]], ...] = (
    ("mir", _LONG, ("2200-2204",)),
    ("mastercard", (16,), ("2221-2720", "51-55")),
    ("diners", (14, 16), ("300-305", "3095", "36", "38-39")),
    ("amex", (15,), ("34", "37")),
    ("jcb", _LONG, ("3528-3589",)),
    ("jcb", (15,), ("1800", "2131")),
    ("visa", (16, 18, 19), ("4",)),
    ("maestro", (12, *_LONG), ("50", "56-58", "61", "63", "66-69")),
    ("discover", _LONG, ("6011", "644-649", "65")),
    ("rupay", (16,), ("60", "81-82")),
    ("unionpay", _LONG, ("62", "81")),
    ("troy", (16,), ("9792",)),
    ("napas", (16, 19), ("9704",)),
    ("humo", (16,), ("9860",)),
    ("uzcard", (16,), ("8600",)),
)


def _by_prefix() -> dict[str, tuple[tuple[str, frozenset[int]], ...]]:
    """Four-digit prefix → brands with their lengths."""
    table: dict[str, tuple[tuple[str, frozenset[int]], ...]] = {}
    for name, lengths, prefixes in _BRANDS:
        for low, _, high in (prefix.partition("-") for prefix in prefixes):
            for prefix in range(int(low.ljust(4, "0")), int((high or low).ljust(4, "9")) + 1):
                key = f"{prefix:04}"
                table[key] = (*table.get(key, ()), (name, frozenset(lengths)))
    return table


_ISSUERS = _by_prefix()
PREFIXES = frozenset(_ISSUERS)
"""The first four digits of all card numbers."""
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")


def luhn(digits: str) -> bool:
    """Whether the check digit fits; ASCII digits only."""
    values = digits.encode()
    return (sum(values[-1::-2]) + sum(values[-2::-2].translate(_DOUBLED)) - 48 * len(values)) % 10 == 0


def brand(digits: str) -> str | None:
    """The brand of a card number (ASCII digits only), None when it is none."""
    for name, lengths in _ISSUERS.get(digits[:4], ()):
        if len(digits) in lengths and luhn(digits):
            return name
    return None


def begins_number(digits: str) -> bool:
    """Whether a card number stands at the beginning of the digits."""
    for _, lengths in _ISSUERS.get(digits[:4], ()):
        for length in lengths:
            if length <= len(digits) and luhn(digits[:length]):
                return True
    return False


def hides_number(digits: str) -> bool:
    """Whether a card number stands anywhere in the digits."""
    for start in range(len(digits) - SHORTEST + 1):
        if digits[start : start + 4] in PREFIXES and begins_number(digits[start : start + LONGEST]):
            return True
    return False
