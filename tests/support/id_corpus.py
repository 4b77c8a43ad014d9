"""Ids, times and measures as events are full of them, none of them a card number. Seeded."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator

Kind = Callable[[random.Random], str]

_HEX = "0123456789abcdef"
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def _weighted(head: str) -> str:
    """With the check digit of GS1 (EAN, UPC, GTIN, SSCC) and of parcels in the United States."""
    total = sum(int(digit) * (3 if i % 2 == 0 else 1) for i, digit in enumerate(reversed(head)))
    return head + str(-total % 10)


def _luhn(head: str) -> str:
    total = sum(int(d) if i % 2 else sum(divmod(2 * int(d), 10)) for i, d in enumerate(reversed(head)))
    return head + str(-total % 10)


def _fours(text: str, separator: str = " ") -> str:
    return separator.join(text[i : i + 4] for i in range(0, len(text), 4))


def _isbn10(chance: random.Random) -> str:
    head = digits(chance, 9)
    check = sum((10 - i) * int(digit) for i, digit in enumerate(head)) * -1 % 11
    return head + ("X" if check == 10 else str(check))


def _time(chance: random.Random) -> float:
    return chance.uniform(1_500_000_000, 1_900_000_000)


def _phone(chance: random.Random) -> str:
    return chance.choice(
        [
            f"+49 {chance.randrange(150, 180)} {digits(chance, 8)}",
            f"+1-{chance.randrange(200, 999)}-{digits(chance, 3)}-{digits(chance, 4)}",
            f"({chance.randrange(200, 999)}) {digits(chance, 3)}-{digits(chance, 4)}",
            f"+44{chance.randrange(7000, 7999)}{digits(chance, 6)}",
            f"0033 {chance.randrange(1, 9)} " + " ".join(digits(chance, 2) for _ in range(4)),
            f"+86 1{digits(chance, 2)} {digits(chance, 4)} {digits(chance, 4)}",
        ]
    )


def _parcel(chance: random.Random) -> str:
    parcel = _weighted(f"9{chance.choice('2345')}" + digits(chance, 19))
    return chance.choice(
        [
            "1Z" + "".join(chance.choices("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", k=16)),
            "1Z" + digits(chance, 16),
            parcel,
            _fours(parcel),
            digits(chance, 12),
            digits(chance, 15),
            _weighted("96" + digits(chance, 19)),
            "JJD0" + digits(chance, 16),
            "JD01" + digits(chance, 14),
            digits(chance, 10),
            f"RR{digits(chance, 9)}DE",
            _weighted("00" + digits(chance, 17)),
        ]
    )


def _iban(chance: random.Random) -> str:
    account = digits(chance, 18)
    iban = f"DE{98 - int(account + '131400') % 97:02}{account}"
    return _fours(iban) if chance.random() < 0.5 else iban


def _hash(chance: random.Random) -> str:
    return "".join(chance.choices(_HEX, k=chance.choice([16, 24, 32, 40, 64])))


def _decimal(chance: random.Random) -> str:
    return chance.choice(
        [
            str(chance.random()),
            repr(chance.uniform(-180, 180)),
            f"{chance.uniform(47, 55):.6f},{chance.uniform(6, 15):.6f}",
            f"{chance.uniform(47, 55):.7f} {chance.uniform(6, 15):.7f}",
            f"{chance.uniform(1, 5000):.2f}",
            f"{chance.uniform(1e6, 1e9):,.2f}",
            repr(chance.uniform(1, 1e6)),
        ]
    )


KINDS: dict[str, Kind] = {
    "epoch seconds": lambda chance: str(int(_time(chance))),
    "epoch milliseconds": lambda chance: str(int(_time(chance) * 1e3)),
    "epoch microseconds": lambda chance: str(int(_time(chance) * 1e6)),
    "epoch nanoseconds": lambda chance: str(int(_time(chance) * 1e9)),
    "time in digits": lambda chance: (
        f"2026{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}{chance.randrange(24):02}"
        f"{chance.randrange(60):02}{chance.randrange(60):02}{chance.choice(['', digits(chance, 3)])}"
    ),
    "time in ISO 8601": lambda chance: (
        f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T10:59:{chance.uniform(10, 59):.6f}Z"
    ),
    "order, short": lambda chance: digits(chance, chance.randrange(6, 12)),
    "order, 16 digits": lambda chance: digits(chance, 16),
    "order, with letters": lambda chance: (
        f"ORD-2026-{digits(chance, 6)}-{chance.randrange(100):02}"
        if chance.random() < 0.5
        else f"SO{digits(chance, 10)}"
    ),
    "order, with day": lambda chance: (
        f"2026{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}-{digits(chance, 6)}"
    ),
    "order, Amazon": lambda chance: (
        f"{chance.choice('1234')}{digits(chance, 2)}-{digits(chance, 7)}-{digits(chance, 7)}"
    ),
    "order, Shopify": lambda chance: str(chance.randrange(4_000_000_000_000, 7_000_000_000_000)),
    "uuid": lambda chance: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
    "uuid without dashes": lambda chance: uuid.UUID(int=chance.getrandbits(128), version=4).hex,
    "ulid": lambda chance: "01" + "".join(chance.choices(_BASE32, k=24)),
    "message id of an SDK": lambda chance: f"ajs-next-{int(_time(chance) * 1e3)}-{chance.getrandbits(64):x}",
    "snowflake": lambda chance: str(chance.randrange(10**18, 2 * 10**18)),
    "id of a social network": lambda chance: "1000" + digits(chance, 11),
    "cookie of Google": lambda chance: f"GA1.2.{chance.randrange(10**8, 10**10)}.{int(_time(chance))}",
    "cookie of Meta": lambda chance: f"fb.1.{int(_time(chance) * 1e3)}.{chance.randrange(10**8, 10**10)}",
    "phone": _phone,
    "ean-13": lambda chance: _weighted(digits(chance, 12)),
    "upc": lambda chance: _weighted(chance.choice("01378") + digits(chance, 10)),
    "gtin-14": lambda chance: _weighted(chance.choice("12345") + digits(chance, 12)),
    "isbn-13": lambda chance: _weighted("978" + digits(chance, 9)),
    "isbn-13 with dashes": lambda chance: (
        f"978-{chance.randrange(0, 8)}-{digits(chance, 3)}-{digits(chance, 5)}-{digits(chance, 1)}"
    ),
    "isbn-10": _isbn10,
    "imei": lambda chance: _luhn(chance.choice(["35", "86", "01", "99"]) + digits(chance, 12)),
    "tracking number": _parcel,
    "iban": _iban,
    "hash": _hash,
    "decimal": _decimal,
    "ip": lambda chance: ".".join(str(chance.randrange(256)) for _ in range(4)),
    "version": lambda chance: ".".join(digits(chance, count) for count in (2, 1, 4, 3)),
    "tax number": lambda chance: f"DE{digits(chance, 9)}",
}  # fmt: skip


def ids(seed: int, each: int) -> Iterator[tuple[str, str]]:
    """``each`` ids of every kind, as (kind, id)."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    for kind, make in KINDS.items():
        for _ in range(each):
            yield kind, make(chance)
