"""The services as anyone sees them from outside: their metrics, the segment API and the SSE stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.measured import Counts, Told
from deploy.demo.segments import Segment
from services.kernel.outcome import CandorError
from services.kernel.settings import SERVICES, Settings

PATIENCE_SECONDS = 30
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_read=None)
Samples = Counter[tuple[str, tuple[tuple[str, str], ...]]]


class Refused(CandorError):
    """A service answered other than it should; the message has its words."""


class Services:
    """The running services, with a key that may read and write segments."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._settings = settings
        self._key = key
        self._session: Any = None

    def url(self, service: str) -> str:
        return f"http://{self._settings.host}:{self._settings.port(service)}"

    async def __aenter__(self) -> Services:
        headers = {"Authorization": f"Bearer {self._key}"}
        self._session = aiohttp.ClientSession(headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def define(self, segment: Segment) -> None:
        """Create the segment, or make sure that it is as it should be."""
        url = f"{self.url('segment')}/v1/segments/{segment.key}"
        async with self._session.put(url, json=segment.definition) as answer:
            await _expect(answer)

    async def members(self, key: str) -> frozenset[str]:
        """Profile ids of all members."""
        url = f"{self.url('segment')}/v1/segments/{key}/members"
        found: set[str] = set()
        query: dict[str, str] = {}
        while True:
            async with self._session.get(url, params=query) as answer:
                page = await _expect(answer)
            found.update(member["profile_id"] for member in page["members"])
            if page["next"] is None:
                return frozenset(found)
            query = {"after": page["next"]}

    async def samples(self) -> Samples:
        """Every counter and gauge of all services, added up over them."""
        found: Samples = Counter()
        for service in SERVICES:
            async with self._session.get(f"{self.url(service)}/metrics") as answer:
                text = await answer.text()
            for family in text_string_to_metric_families(text):
                for sample in family.samples if family.type in ("counter", "gauge") else ():
                    found[sample.name, tuple(sorted(sample.labels.items()))] += int(sample.value)
        return found

    def subscribe(self) -> Subscriber:
        return Subscriber(self._session, f"{self.url('segment')}/v1/stream")


class Subscriber:
    """A live SSE subscriber of all segments, while entered; ``told`` is what it got, as it arrived."""

    def __init__(self, session: Any, url: str) -> None:
        self.told: list[Told] = []
        self._session = session
        self._url = url
        self._connected = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Subscriber:
        self._task = asyncio.create_task(self._listen(), name="demo subscriber")
        connected = asyncio.create_task(self._connected.wait())
        await asyncio.wait({connected, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            connected.cancel()
            self._task.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def received(self, number: int) -> None:
        """Return once so many transitions came, or after PATIENCE_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
                await self._arrived.wait_for(lambda: len(self.told) >= number)

    async def _listen(self) -> None:
        """Follow the stream; where it is cut, go on from the last transition that came, as the API says."""
        last = ""
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            async with self._session.get(self._url, headers=headers, timeout=_NO_TIMEOUT) as answer:
                if answer.status != 200:
                    await _expect(answer)
                self._connected.set()
                field: dict[bytes, bytes] = {}
                async for line in answer.content:
                    name, _, value = line.rstrip(b"\r\n").partition(b":")
                    if name:
                        field[name] = value.strip()
                        continue
                    last = field.get(b"id", last.encode()).decode()
                    if b"data" in field:
                        await self._take(field[b"data"], time.monotonic())
                    field = {}

    async def _take(self, data: bytes, at: float) -> None:
        said = msgspec.json.decode(data)
        if "segment_key" not in said:
            return
        self.told.append(
            Told(
                said["segment_key"], said["profile_id"], said["user_id"], said["member"], said["sequence"], at
            )
        )
        async with self._arrived:
            self._arrived.notify_all()


async def _expect(answer: Any) -> Any:
    """The decoded JSON of a success. Raises Refused for anything else."""
    body = await answer.text()
    if answer.status >= 300:
        raise Refused(f"{answer.method} {answer.url.path}: {answer.status} {body}")
    return msgspec.json.decode(body) if body else None


def counts(samples: Mapping[tuple[str, tuple[tuple[str, str], ...]], int]) -> Counts:
    """The account's figures from differences of the services' counters."""

    def total(name: str, **labels: str) -> int:
        wanted = labels.items()
        return sum(
            value for (of, has), value in samples.items() if of == name and wanted <= dict(has).items()
        )

    def records(stage: str, outcome: str) -> int:
        return total("candor_records_total", stage=stage, outcome=outcome)

    return Counts(
        accepted=total("candor_records_total", stage="ingest"),
        applied=records("profile", "applied"),
        repeats=records("profile", "duplicate"),
        dropped=records("gate", "dropped") + records("profile", "dropped"),
        bad=total("candor_dead_letters_total"),
        masked=total("candor_masked_total"),
    )
