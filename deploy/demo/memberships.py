"""Whether a visitor is in a segment, as it changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


class Memberships:
    """``address``: of the segment service; ``key``: one that reads segments."""

    def __init__(self, session: aiohttp.ClientSession, address: str, key: str) -> None:
        self._session = session
        self._address = address
        self._headers = {"Authorization": f"Bearer {key}", "X-Candor-Reason": "shown to the visitor"}

    async def follow(self, segment: str, anonymous_id: str) -> AsyncIterator[dict[str, Any]]:
        """``{"member", "name"}`` now, and again after each transition of the visitor. Ends with the stream;
        nothing comes while there is no such segment."""
        async with self._get(f"/v1/segments/{segment}/stream", timeout=_NO_TIMEOUT) as stream:
            if not stream.ok:
                return
            async with self._get(f"/v1/segments/{segment}") as answer:
                name = (await answer.json())["name"]
            # After the stream began, so that nothing is missed between the two.
            yield {"member": await self._is_member(segment, anonymous_id), "name": name}
            async for line in stream.content:
                if line.startswith(b"data: ") and _is_about(json.loads(line[6:]), anonymous_id):
                    yield {"member": await self._is_member(segment, anonymous_id), "name": name}

    async def _is_member(self, segment: str, anonymous_id: str) -> bool:
        """Not by the transition: when profiles are joined, one leaves and another enters, in either order."""
        async with self._get(f"/v1/segments/{segment}/why/anonymous_id:{anonymous_id}") as answer:
            return answer.ok and bool((await answer.json())["member"])

    def _get(self, path: str, **options: Any) -> Any:
        return self._session.get(self._address + path, headers=self._headers, **options)


def _is_about(said: dict[str, Any], anonymous_id: str) -> bool:
    return anonymous_id in said.get("anonymous_ids", ())
