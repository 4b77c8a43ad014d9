"""Seeded traffic from outside: events, repeats, poison and opt-outs, with what was acknowledged when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

RETRIED = (408, 429, 502, 503, 504)
"""An SDK would retry after a 500 as well, but none may be answered."""


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class Sent:
    """An event that ingest acknowledged: the person, whether it names the user_id or only a device, and when
    its first request began (µs)."""

    user: str
    named: bool
    began: int


@dataclass(slots=True)
class OptOut:
    """A person's denial of every purpose: first request, and its acknowledgement (None until then)."""

    began: int
    acknowledged: int | None = None


@dataclass(slots=True)
class Ledger:
    """What the outside knows: by message id, and by user."""

    sent: dict[str, Sent] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    bad: int = 0
    opt_outs: dict[str, OptOut] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)


class Traffic:
    """Sends until told to stop. The same seed sends the same events; their timing depends on the servers."""

    def __init__(
        self,
        ingest: str,
        consent: str,
        write_key: str,
        server_key: str,
        ledger: Ledger,
        *,
        seed: int,
        people: int = 300,
    ) -> None:
        self._ingest = ingest
        self._consent = consent
        self._write_key = write_key
        self._server_key = server_key
        self._random = random.Random(seed)  # noqa: S311 - it must be repeatable
        self._people = people
        self._number = 0
        self._seed = seed
        self._stopping = asyncio.Event()
        self.ledger = ledger

    def stop(self) -> None:
        self._stopping.set()

    async def run(
        self,
        *,
        senders: int = 4,
        batch: int = 40,
        pause: float = 0.02,
        opt_outs: int = 1,
        share: float = 1 / 3,
    ) -> None:
        """Send from several senders at once until :meth:`stop`; meanwhile ``share`` of the people opt out,
        ``opt_outs`` of them at a time."""
        async with session() as client, asyncio.TaskGroup() as group:
            for _ in range(senders):
                group.create_task(self._send_batches(client, batch, pause))
            people = self._random.sample(range(self._people), int(self._people * share))
            for part in range(opt_outs):
                group.create_task(self._opt_out(client, people[part::opt_outs]))

    async def _send_batches(self, client: aiohttp.ClientSession, size: int, pause: float) -> None:
        while not self._stopping.is_set():
            events = [self._event() for _ in range(size)]
            repeats = self._random.random() < 0.1
            poisoned = [*events, *([{"type": "track", "event": "No identifier"}] if repeats else [])]
            await self._deliver(client, poisoned, events)
            if repeats:
                await self._deliver(client, self._random.sample(events, len(events)), events)
            await asyncio.sleep(pause)

    def _user(self, number: int) -> str:
        return f"s{self._seed}u{number}"

    def _event(self) -> dict[str, Any]:
        self._number += 1
        user = self._user(self._random.randrange(self._people))
        event: dict[str, Any] = {
            "messageId": f"{self._seed}-{self._number}",
            "userId": user,
            "anonymousId": f"device-{user}-{self._random.randrange(2)}",
            "timestamp": "2026-01-01T00:00:00Z" if self._random.random() < 0.01 else None,
        }
        kind = self._random.random()
        if kind < 0.15:
            event |= {"type": "identify", "traits": {"plan": self._random.choice(["free", "pro"])}}
        elif kind < 0.3:
            event |= {"type": "page", "name": "Home"}
            if self._random.random() < 0.3:
                del event["userId"]
        else:
            event |= {
                "type": "track",
                "event": "Order Completed",
                "properties": {"total": round(self._random.uniform(1, 99), 2)},
            }
        return {name: value for name, value in event.items() if value is not None}

    async def _deliver(
        self, client: aiohttp.ClientSession, batch: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]
    ) -> None:
        """Until acknowledged, as an SDK would. What never was stays unsure: it may have landed."""
        self.ledger.unsure.update(event["messageId"] for event in events)
        users = {event["messageId"]: user_of(event) for event in events}
        named = {event["messageId"] for event in events if "userId" in event}
        first = now()
        while True:
            try:
                async with client.post(
                    f"{self._ingest}/v1/batch", json={"batch": list(batch), "writeKey": self._write_key}
                ) as answer:
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            self.ledger.answers[status] = self.ledger.answers.get(status, 0) + 1
            if status == 200:
                break
            if status and status not in RETRIED:
                raise AssertionError(f"ingest answered {status}")
            if self._stopping.is_set():
                return
            await asyncio.sleep(0.2)
        self.ledger.bad += len(batch) - len(events) if len(batch) > len(events) else 0
        for message_id, user in users.items():
            self.ledger.unsure.discard(message_id)
            self.ledger.sent.setdefault(message_id, Sent(user, message_id in named, first))

    async def _opt_out(self, client: aiohttp.ClientSession, people: Sequence[int]) -> None:
        """One person after another."""
        for number in people:
            if self._stopping.is_set():
                return
            await self.opt_out(client, self._user(number))
            await asyncio.sleep(0.05)

    async def opt_out(self, client: aiohttp.ClientSession, user: str) -> None:
        """Deny everything for that person; tried until acknowledged, or the traffic stops."""
        entry = self.ledger.opt_outs.setdefault(user, OptOut(now()))
        while True:
            try:
                async with client.post(
                    f"{self._consent}/v1/decisions",
                    json={"identifiers": {"user_id": user}, "purposes": {"*": "deny"}, "method": "api"},
                    headers={"Authorization": f"Bearer {self._server_key}"},
                ) as answer:
                    if answer.ok:
                        entry.acknowledged = now()
                        return
                    if answer.status not in RETRIED:
                        raise AssertionError(f"consent answered {answer.status}: {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError):
                pass
            if self._stopping.is_set():
                return
            await asyncio.sleep(0.2)


def session() -> aiohttp.ClientSession:
    """A client for many requests at once: aiohttp takes 0.4 ms for one where httpx takes 6."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=128), timeout=aiohttp.ClientTimeout(total=15)
    )


def user_of(event: dict[str, Any]) -> str:
    """The person behind an event of this traffic, also where it is anonymous."""
    if "userId" in event:
        return str(event["userId"])
    return str(event["anonymousId"]).split("-")[1]
