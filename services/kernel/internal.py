"""How services ask each other over HTTP: with a key that each of them derives from the identifier key.

Only what must never stand on a topic goes this way: a person's own data on its way to that person.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import httpx

from services.kernel.audit import Actor
from services.kernel.key_file import Key, LiveToken
from services.kernel.outcome import Outage
from services.kernel.settings import Settings
from services.kernel.token import ALPHABET, PREFIX, RANDOM, checksum, hash_token

INTERNAL = "internal"
"""The key's id, by which the audit log knows that a service asked."""
SCOPE = "internal"
"""What that key alone may do: no key of the keyring can have it."""
ACTING = "X-Candor-Actor"
"""For whom a service asks (UTF-8)."""
REASON = "X-Candor-Reason"
"""Why (UTF-8)."""
SECONDS = 30.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def derived(settings: Settings, purpose: str) -> bytes:
    """32 bytes that only who knows the identifier key can tell; others for every purpose."""
    return blake2b(key=settings.identifier_key, person=purpose.encode(), digest_size=32).digest()


def internal_token(settings: Settings) -> str:
    """The bearer token with which services ask each other."""
    body = PREFIX + "".join(ALPHABET[byte % len(ALPHABET)] for byte in derived(settings, INTERNAL)[:RANDOM])
    return body + checksum(body)


def internal_key(settings: Settings) -> Key:
    """What that token may do; it stands in no keyring file."""
    return Key(
        id=INTERNAL,
        name=INTERNAL,
        kind=INTERNAL,
        source=None,
        created=_EPOCH,
        tokens=(LiveToken(hash_token(internal_token(settings)), _EPOCH),),
        scopes=frozenset({SCOPE}),
    )


class Neighbours:
    """Asks the other services."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {internal_token(settings)}"}, timeout=SECONDS, trust_env=False
        )

    async def ask(self, service: str, path: str, body: dict[str, Any], actor: Actor) -> dict[str, Any] | None:
        """Its answer, None where it has nothing (404). Raises Outage when it does not answer as it should."""
        url = f"http://{self._settings.host}:{self._settings.port(service)}{path}"
        headers = {ACTING.encode(): actor.name.encode()}
        if actor.why:
            headers[REASON.encode()] = actor.why.encode().strip()
        try:
            answer = await self._client.post(url, json=body, headers=headers)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Outage(f"{service} does not answer: {type(error).__name__}") from error
        return found

    async def close(self) -> None:
        await self._client.aclose()
