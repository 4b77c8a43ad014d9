"""Who a person is who comes without a key: by a visitor's secret or by a link of the shop."""

from __future__ import annotations

import hmac
from typing import NamedTuple

from services.consent import store_privacy
from services.consent.domain.visitor import Unproven, read_link, read_visitor, secret_hash, sign_link
from services.kernel.clock import Clock
from services.kernel.identifier import Hasher, Identifier
from services.kernel.internal import derived
from services.kernel.postgres import Pool
from services.kernel.settings import Settings

VISITOR, LINK, KEY = "visitor", "link", "key"
SCHEMES = (VISITOR, LINK)
"""Of the header Authorization, in lower case."""


class Proven(NamedTuple):
    """A person who has shown that these identifiers are theirs. A visitor reaches what came under that very
    identifier; a link reaches the whole person. ``how``: VISITOR or LINK."""

    how: str
    identifiers: frozenset[Identifier]


class Visitors:
    """Keeps visitors' secrets and signs links."""

    def __init__(self, settings: Settings, pool: Pool, hasher: Hasher, clock: Clock) -> None:
        self._key = derived(settings, "links")
        self._pool = pool
        self._hasher = hasher
        self._clock = clock

    async def claim(self, visitor: Identifier, secret: object) -> bool:
        """Whether the identifier is now, or was before, this secret's. Raises Unproven for what is none."""
        return await store_privacy.claim(
            self._pool, self._hasher.of(visitor), secret_hash(secret), self._clock.now()
        )

    async def prove(self, scheme: str, token: str) -> Proven:
        """Raises Unproven."""
        if scheme == LINK:
            return Proven(LINK, read_link(self._key, token, self._clock.now()))
        visitor, secret = read_visitor(token)
        known = await store_privacy.secret_of(self._pool, self._hasher.of(visitor))
        if known is None or not hmac.compare_digest(known, secret):
            raise Unproven("no visitor has that secret")
        return Proven(VISITOR, frozenset({visitor}))

    def link(self, identifiers: frozenset[Identifier], expires_at: int) -> str:
        """A token that reaches the whole person until then (µs)."""
        return sign_link(self._key, identifiers, expires_at)
