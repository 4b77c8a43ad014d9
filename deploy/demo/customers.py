"""What a shop's server tells the consent service of those who log in and asks for them, with a server key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import aiohttp

from services.kernel.outcome import CandorError

TRIES = 4


class Unavailable(CandorError):
    """The consent service does not answer now."""


class Customers:
    """``consent``: the service's address; ``key``: a server key."""

    def __init__(self, session: aiohttp.ClientSession, consent: str, key: str) -> None:
        self._session = session
        self._consent = consent
        self._headers = {"Authorization": f"Bearer {key}", "X-Candor-Reason": "the customer logged in"}

    async def pass_on(self, user_id: str, choice: Mapping[str, Any]) -> None:
        """Make the choice that a visitor made in this browser (`candor.choice()`) hold for the account too,
        of which a yes for the browser says nothing. Returns once no later event of theirs can get past it.

        A yes is not passed on when the account has decided since; a no always is. The same choice is passed
        on once to an account, however often they log in. Raises Unavailable.
        """
        if not (choice.get("answered") and choice.get("id") and choice.get("decided_at")):
            return
        id = f"{choice['id']}-{user_id}"
        ledger = await self._call("GET", f"/v1/ledger/user_id:{user_id}")
        if any(one["id"] == id for one in ledger["decisions"]):
            return
        purposes = {name: "grant" if yes else "deny" for name, yes in choice["purposes"].items()}
        moment = datetime.fromisoformat(choice["decided_at"])
        if any(datetime.fromisoformat(one["decided_at"]) > moment for one in ledger["decisions"]):
            purposes = {name: said for name, said in purposes.items() if said == "deny"}
        if not purposes:
            return
        decision = {
            "id": id,
            "identifiers": {"user_id": user_id},
            "purposes": purposes,
            "method": "propagated",
            "text_hash": choice.get("text_hash"),
            "client_time": choice["decided_at"],
        }
        await self._call("POST", "/v1/decisions", decision)

    async def link(self, user_id: str) -> str:
        """The address of the customer's own page, for a week. Raises Unavailable."""
        made = await self._call("POST", "/v1/privacy/links", {"identifiers": {"user_id": user_id}})
        return str(made["url"])

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer; asked again while there is none, as each of these calls counts once."""
        for _ in range(TRIES):
            try:
                async with self._session.request(
                    method, self._consent + path, json=body, headers=self._headers
                ) as answer:
                    if answer.ok:
                        return await answer.json()
                    if answer.status < 500:
                        raise Unavailable(f"{path}: {answer.status} {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(1)
        raise Unavailable(f"{path}: the consent service does not answer")
