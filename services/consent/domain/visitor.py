"""How a person shows who they are: a visitor's secret, or a link that the shop sent them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from services.kernel.identifier import ANONYMOUS_ID, Identifier, is_blocked, normalise

SECRET = re.compile(r"[0-9a-f]{64}")
"""A visitor's secret: 32 random bytes in hexadecimal."""
MAX_ANONYMOUS_ID = 500
MAX_TOKEN = 8_000


class Unproven(ValueError):
    """What was shown proves nothing; the message says what was expected."""


class _Signed(Struct, frozen=True, forbid_unknown_fields=True):
    """What a link says. ``e``: µs since the epoch at which it ends."""

    i: tuple[str, ...]
    e: int


def anonymous(value: object) -> Identifier:
    """The visitor's identifier. Raises Unproven for what is no text or stands for nobody in particular."""
    named = normalise(value) if isinstance(value, str) else ""
    if not 0 < len(named) <= MAX_ANONYMOUS_ID or is_blocked(named):
        raise Unproven("anonymous_id: expected a visitor's own")
    return Identifier(ANONYMOUS_ID, named)


def secret_hash(secret: object) -> bytes:
    """What is kept of a visitor's secret. It is random: a plain hash is as good as a slow one.

    Raises Unproven.
    """
    if not isinstance(secret, str) or not SECRET.fullmatch(secret):
        raise Unproven("secret: expected 32 bytes in hexadecimal")
    return hashlib.sha256(secret.encode()).digest()


def read_visitor(token: str) -> tuple[Identifier, bytes]:
    """The identifier and the secret's hash of ``base64url(anonymous_id).secret``. Raises Unproven."""
    encoded, _, secret = token.rpartition(".")
    try:
        value = _unpacked(encoded).decode()
    except UnicodeDecodeError:
        raise Unproven("expected base64url(anonymous_id).secret") from None
    return anonymous(value), secret_hash(secret)


def sign_link(key: bytes, identifiers: Iterable[Identifier], expires_at: int) -> str:
    """A token that proves to hold these identifiers until then (µs)."""
    said = msgspec.json.encode(_Signed(tuple(sorted(map(str, identifiers))), expires_at))
    return f"{_packed(said)}.{_packed(_mac(key, said))}"


def read_link(key: bytes, token: str, now: int) -> frozenset[Identifier]:
    """The identifiers of a link that was signed with that key and has not ended. Raises Unproven."""
    encoded, _, mac = token.partition(".")
    said = _unpacked(encoded)
    if not hmac.compare_digest(_mac(key, said), _unpacked(mac)):
        raise Unproven("expected a link of this service")
    signed = msgspec.json.decode(said, type=_Signed)
    if signed.e <= now:
        raise Unproven("the link has ended: ask for a new one")
    return frozenset(map(Identifier.parse, signed.i))


def _mac(key: bytes, said: bytes) -> bytes:
    return hashlib.blake2b(said, key=key, digest_size=32).digest()


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unpacked(text: str) -> bytes:
    if len(text) > MAX_TOKEN:
        raise Unproven("too long")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Unproven("expected base64url") from None
