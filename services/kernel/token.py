"""Tokens of API keys: ``candor_live_``, 32 random characters and a checksum, so that scanners recognise one
that leaked, and a mistyped one costs no look-up."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "candor_live_"
RANDOM = 32
"""Characters, 190 random bits: a plain SHA-256 is as good as a slow hash."""
CHECKSUM = 6
"""Characters: any CRC-32 fits into six of base62."""
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase

_FORM = re.compile(f"{PREFIX}[0-9A-Za-z]{{{RANDOM + CHECKSUM}}}")


def make_token() -> str:
    """A new token; whoever makes it shows it once and keeps :func:`hash_token` of it."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM))
    return body + checksum(body)


def checksum(body: str) -> str:
    """CRC-32 of the ASCII text, in base62, the highest digit first."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def is_sound(text: str) -> bool:
    """Whether the text has the form of a token and its checksum is right."""
    return _FORM.fullmatch(text) is not None and checksum(text[:-CHECKSUM]) == text[-CHECKSUM:]


def hash_token(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
