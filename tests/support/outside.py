"""Candor as apps, people and marketing tools see it: HTTP and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from deploy.local.process import REPOSITORY
from services.kernel.identifier import USER_ID
from services.kernel.message import partition_of
from services.kernel.settings import Settings
from services.kernel.topics import registry
from tests.support.services import Service, environment_of


class Outside:
    """A client of the running services, with the keys that the first start makes."""

    def __init__(
        self, settings: Settings, services: Mapping[str, Service], tokens: Mapping[str, str]
    ) -> None:
        self.settings = settings
        self.services = services
        self.tokens = tokens
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=128)) as client:
            self._client = client
            yield
        self._client = None

    @property
    def client(self) -> httpx.AsyncClient:
        assert self._client is not None
        return self._client

    def url(self, service: str, path: str) -> str:
        return self.services[service].url + path

    def bearer(self, name: str = "admin") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    @staticmethod
    def name(prefix: str) -> str:
        """A name that nothing else has."""
        return f"{prefix}-{secrets.token_hex(5)}"

    async def send(self, *events: Mapping[str, Any], key: str = "demo-web") -> httpx.Response:
        """One batch."""
        return await self.client.post(
            self.url("ingest", "/v1/batch"), json={"writeKey": self.tokens[key], "batch": list(events)}
        )

    async def accepted(self, *events: Mapping[str, Any], key: str = "demo-web") -> None:
        """One batch that must be accepted."""
        answer = await self.send(*events, key=key)
        assert answer.status_code == 200, answer.text

    async def command(self, *arguments: str, code: int = 0) -> str:
        """What `candor …` prints, with that exit code."""
        process = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", "from services.cli import main; main()", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environment_of(self.settings)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == code, process.stdout + process.stderr
        return process.stdout + process.stderr

    async def decide(
        self, identifiers: Mapping[str, str], purposes: Mapping[str, str], key: str = "demo-server"
    ) -> None:
        """A decision, acknowledged."""
        answer = await self.client.post(
            self.url("consent", "/v1/decisions"),
            json={"identifiers": identifiers, "purposes": purposes, "method": "api"},
            headers=self.bearer(key),
        )
        assert answer.is_success, answer.text

    async def segment(self, rule: Mapping[str, Any], purpose: str = "marketing") -> str:
        """A new segment that has judged everybody; its key."""
        key = self.name("segment")
        answer = await self.client.put(
            self.url("segment", f"/v1/segments/{key}"),
            json={"name": key, "purpose": purpose, "rule": rule},
            headers=self.bearer(),
        )
        assert answer.is_success, answer.text
        await eventually(lambda: self._filled(key))
        return key

    async def _filled(self, key: str) -> bool:
        answer = await self.client.get(self.url("segment", f"/v1/segments/{key}"), headers=self.bearer())
        return answer.json()["filling"] is False

    async def profile(self, person: str) -> dict[str, Any] | None:
        """The golden record, None where there is none."""
        answer = await self.client.get(self.url("profile", f"/v1/profiles/{person}"), headers=self.bearer())
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def count(self, person: str, event: str) -> int:
        """How often that event stands in the person's golden record."""
        profile = await self.profile(person)
        count: int = profile["activity"].get(event, {}).get("count", 0) if profile else 0
        return count

    async def passed_by(self, *users: str, seconds: float = 60) -> None:
        """Wait until all that was sent of these people before has been judged: a stranger's event that comes
        after it on the same partition is applied."""
        hasher = self.settings.hasher()

        def place(user: str) -> int:
            return partition_of(hasher(USER_ID, user), registry()["events.collected"].partitions)

        left = {place(user) for user in users}
        strangers: list[str] = []
        while left:
            strangers.append(self.name("stranger"))
            left.discard(place(strangers[-1]))
        await self.accepted(*[track(user, "Passed", f"{user}-1") for user in strangers])
        for user in strangers:

            async def applied(user: str = user) -> bool:
                return await self.count(f"user_id:{user}", "Passed") == 1

            await eventually(applied, seconds)

    async def members(self, key: str) -> set[str]:
        """user_ids of a segment's members (profile ids of the anonymous)."""
        found: set[str] = set()
        after: str | None = None
        while True:
            answer = await self.client.get(
                self.url("segment", f"/v1/segments/{key}/members"),
                params={"after": after} if after else {},
                headers=self.bearer(),
            )
            page = answer.json()
            found |= {member["user_id"] or member["profile_id"] for member in page["members"]}
            after = page["next"]
            if after is None:
                return found

    async def transitions(self, key: str, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """The first transitions of a segment, from the stream's beginning."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(seconds), aclosing(self.stream(key, "")) as events:
            async for _, transition in events:
                found.append(transition)
                if len(found) == count:
                    break
        return found

    async def stream(
        self, key: str, cursor: str | None = None
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """(cursor, transition) as the segment's subscriber gets them; ``cursor`` "" is the very beginning."""
        headers = self.bearer() | ({"Last-Event-ID": cursor} if cursor else {})
        if cursor == "":
            headers["Last-Event-ID"] = ".".join("0" * 8)
        url = self.url("segment", f"/v1/segments/{key}/stream")
        async with self.client.stream("GET", url, headers=headers, timeout=None) as answer:
            assert answer.status_code == 200
            at, data = "", ""
            async for line in answer.aiter_lines():
                if line.startswith("id:"):
                    at = line[3:].strip()
                elif line.startswith("data:"):
                    data = line[5:].strip()
                elif not line and data:
                    yield at, json.loads(data)
                    data = ""


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> float:
    """Wait until the condition holds; for how long it did not, in seconds."""
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - started


def track(user: str, event: str, message_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": event, "messageId": message_id, **fields}


def shuffled(events: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The same events, some of them twice, in another order; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - it must be repeatable
    copies = [*events, *chance.sample(events, len(events) // 2)]
    chance.shuffle(copies)
    return copies
