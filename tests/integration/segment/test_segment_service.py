"""The whole service as a process, with a real broker: from profiles.state to topics, API and stream."""

from __future__ import annotations

import asyncio
import json
import signal
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from services.kernel import codec, headers
from services.kernel.clock import HOUR, SECOND, SystemClock
from services.kernel.events import DeadLetter, GoldenRecord, Membership, SegmentDefinition, Transition
from services.kernel.keys import create
from services.kernel.message import Message
from services.kernel.postgres import connect
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.segment.flow.verify import verify
from tests.integration.segment.world import BERLIN, BOUGHT_LATELY, golden, orders, profile
from tests.support.ports import free_port
from tests.support.services import Service, services


@pytest.fixture
def admin(settings: Settings) -> str:
    return create(settings.keyring, "test", "admin")


@pytest.fixture
def service(settings: Settings, admin: str) -> Iterator[Service]:
    with services(settings, ("segment",)) as started:
        yield started["segment"]


@pytest.fixture
async def api(service: Service, admin: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=service.url, headers={"Authorization": f"Bearer {admin}"}, timeout=10
    ) as client:
        yield client


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[BatchProducer]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield producer
    await producer.stop()


async def feed(producer: BatchProducer, *records: GoldenRecord) -> None:
    messages = [Message(record.profile_id.encode(), codec.encode(record)) for record in records]
    await producer.produce("profiles.state", None, messages)


async def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The condition's result once it is true."""
    async with asyncio.timeout(seconds):
        while not (result := await condition()):
            await asyncio.sleep(0.05)
    return result


async def put(api: httpx.AsyncClient, key: str, rule: Any, purpose: str = "marketing") -> httpx.Response:
    return await api.put(f"/v1/segments/{key}", json={"name": key, "purpose": purpose, "rule": rule})


@asynccontextmanager
async def events(
    api: httpx.AsyncClient, path: str, last: str | None = None
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """Server-sent events as dictionaries of their fields; comments and ids without data are left out."""

    async def read(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            if not line:
                if "data" in fields:
                    yield fields
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value

    sent = {"Last-Event-ID": last} if last else {}
    async with api.stream("GET", path, headers=sent, timeout=30) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield read(response)


async def drain(settings: Settings, topic: str) -> list[Any]:
    """Everything that stands in the topic now, in order within each partition."""
    consumer = AIOKafkaConsumer(
        settings.topic(topic),
        bootstrap_servers=settings.kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        records = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def test_from_a_golden_record_to_topics_stream_and_api(
    settings: Settings, service: Service, api: httpx.AsyncClient, producer: BatchProducer
) -> None:
    now = SystemClock().now()
    assert (await put(api, "berlin", BERLIN)).status_code == 201
    assert (await put(api, "berlin", BERLIN)).status_code == 200
    assert (await put(api, "buyers", BOUGHT_LATELY, "analytics")).status_code == 201
    async with events(api, "/v1/stream") as stream, events(api, "/v1/segments/berlin/stream") as berlin:
        await feed(
            producer,
            golden("ada", 1, city="Berlin", anonymous_ids=["browser"], activity=orders(now)),
            golden("bob", 1, city="Rome"),
        )
        entered = [await anext(stream) for _ in range(2)]
        shown = {json.loads(item["data"])["segment_key"]: json.loads(item["data"]) for item in entered}
        assert set(shown) == {"berlin", "buyers"}
        assert shown["berlin"]["profile_id"] == profile("ada")
        assert shown["berlin"]["reason"] == "rule"
        assert {item["event"] for item in entered} == {"transition"}
        await feed(producer, golden("ada", 2, city="Rome", anonymous_ids=["browser"]))
        two = [json.loads((await anext(berlin))["data"]) for _ in range(2)]
        assert [(item["sequence"], item["member"]) for item in two] == [(1, True), (2, False)]
    async with events(api, "/v1/stream", entered[-1]["id"]) as resumed:
        rest = [json.loads((await anext(resumed))["data"]) for _ in range(2)]
        assert {(item["segment_key"], item["sequence"], item["member"]) for item in rest} == {
            ("berlin", 2, False),
            ("buyers", 2, False),
        }

    transitions = [
        codec.decode(Transition, record.value) for record in await drain(settings, "segments.transitions")
    ]
    assert {(item.segment_key, item.sequence) for item in transitions} == {
        ("berlin", 1),
        ("berlin", 2),
        ("buyers", 1),
        ("buyers", 2),
    }
    state = await drain(settings, "segments.membership")
    assert sorted((record.key.decode(), record.value is None) for record in state) == [
        (f"berlin/{profile('ada')}", False),
        (f"berlin/{profile('ada')}", True),
        (f"buyers/{profile('ada')}", False),
        (f"buyers/{profile('ada')}", True),
    ]
    definitions = await until(lambda: _of(drain(settings, "segments.definitions"), 2))
    assert {codec.decode(SegmentDefinition, record.value).purpose for record in definitions} == {
        "marketing",
        "analytics",
    }


async def _of(found: Any, number: int) -> Any:
    records = await found
    return records if len(records) >= number else None


async def test_dead_letters_and_merges_on_real_topics(
    settings: Settings, api: httpx.AsyncClient, producer: BatchProducer, service: Service
) -> None:
    await put(api, "berlin", BERLIN)
    key = profile("ada").encode()
    await feed(producer, golden("ada", 1, city="Berlin"))
    # Of what one batch holds of a profile only the newest is judged: the entry must be out first.
    await until(lambda: _of(drain(settings, "segments.transitions"), 1))
    await producer.produce("profiles.state", None, [Message(key, b"nonsense")])
    tombstone = [(headers.VERSION, b"3"), (headers.MERGED_INTO, profile("bob").encode())]
    await producer.produce("profiles.state", None, [Message(key, None, tombstone)])
    transitions = await until(lambda: _of(drain(settings, "segments.transitions"), 2))
    left = codec.decode(Transition, transitions[-1].value)
    assert (left.reason, left.sequence) == ("merge", 2)
    assert headers.value(transitions[-1].headers, headers.MERGED_INTO) == profile("bob").encode()
    dead = [codec.decode(DeadLetter, record.value).reason for record in await drain(settings, "deadletters")]
    assert dead == ["not_avro"]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_through_kills_and_pauses_the_fold_of_the_stream_equals_recompute(
    settings: Settings, admin: str, producer: BatchProducer, fault: signal.Signals
) -> None:
    """Promise 7 through crashes: kill -9 at any point, or a process that sleeps while another takes over and
    then wakes with its old epoch and its old relay."""
    other = replace(settings, segment_port=free_port())
    with services(settings, ("segment",)) as started:
        first = started["segment"]
        async with httpx.AsyncClient(
            base_url=first.url, headers={"Authorization": f"Bearer {admin}"}, timeout=10
        ) as api:
            await put(api, "berlin", BERLIN)
        second = Service("segment", other)
        names = [f"person {i}" for i in range(200)]
        try:
            for version in range(1, 13):
                if version == 4:
                    first.signal(fault)
                    await asyncio.to_thread(second.start)
                await feed(
                    producer,
                    *(golden(name, version, city=city_of(name, version)) for name in names),
                )
                await asyncio.sleep(0.1)
            await asyncio.to_thread(second.wait_ready)
            await until(lambda: caught_up(settings, len(names), 12), 60)
            if fault == signal.SIGSTOP:
                first.signal(signal.SIGCONT)
                await feed(producer, *(golden(n, 13, city="Berlin") for n in names))
                await until(lambda: caught_up(settings, len(names), 13), 60)
        finally:
            await asyncio.to_thread(second.stop)
    await fold_equals_recompute(settings, names)


def city_of(name: str, version: int) -> str:
    return ("Berlin", "Rome")[zlib.crc32(f"{name} {version}".encode()) % 2]


async def caught_up(settings: Settings, people: int, version: int) -> bool:
    pool = await connect(settings, "segment", size=1)
    try:
        judged = await pool.fetchval("SELECT count(*) FROM records WHERE version = $1", version)
        behind = await pool.fetchval(
            "SELECT count(*) FROM partitions p JOIN published u USING (partition)"
            " WHERE p.position > u.position"
        )
        return bool(judged == people and behind == 0)
    finally:
        await pool.close()


async def fold_equals_recompute(settings: Settings, names: list[str]) -> None:
    folded: dict[str, Membership] = {}
    for record in await drain(settings, "segments.membership"):
        key = record.key.decode()
        if record.value is None:
            folded.pop(key, None)
        else:
            folded[key] = codec.decode(Membership, record.value)
    log: dict[str, list[tuple[int, bool]]] = {}
    for record in await drain(settings, "segments.transitions"):
        item = codec.decode(Transition, record.value)
        seen = log.setdefault(item.profile_id, [])
        if not seen or item.sequence > seen[-1][0]:  # a repeat carries the same sequence
            seen.append((item.sequence, item.member))
    for seen in log.values():
        assert seen == [(i + 1, i % 2 == 0) for i in range(len(seen))]
    pool = await connect(settings, "segment", size=2)
    try:
        stored = {
            f"{row['segment_key']}/{row['profile_id'].hex()}": row["sequence"]
            for row in await pool.fetch("SELECT * FROM memberships WHERE member")
        }
        assert {key: item.sequence for key, item in folded.items()} == stored
        assert {f"berlin/{profile_id}" for profile_id, seen in log.items() if seen[-1][1]} == set(stored)
        report = await verify(pool, SystemClock().now())
        assert (report.faults, report.pending, report.profiles) == (0, 0, len(names))
    finally:
        await pool.close()


async def test_a_window_ends_while_the_service_runs(
    settings: Settings, api: httpx.AsyncClient, producer: BatchProducer, service: Service
) -> None:
    """The due scan of the running service, on a trait's exact window that ends soon, but not before a busy
    machine has judged the record."""
    await put(api, "fresh", {"trait": "since", "op": "within_last", "value": {"hours": 1}})
    since = SystemClock().now() - HOUR + 15 * SECOND
    async with events(api, "/v1/stream") as stream:
        await feed(producer, golden("ada", since=since / 1_000_000))
        first, second = [json.loads((await anext(stream))["data"]) for _ in range(2)]
    assert (first["member"], first["reason"]) == (True, "rule")
    assert (second["member"], second["reason"], second["cause"]) == (False, "time", None)


async def test_a_stop_ends_open_streams_at_once(service: Service, api: httpx.AsyncClient) -> None:
    """The server would wait for them, and then cut them off in the midst of an event."""
    async with events(api, "/v1/stream") as stream:
        stopping = asyncio.create_task(asyncio.to_thread(service.stop))
        assert [item async for item in stream] == []
    assert await stopping == 0
    assert "Exception" not in service.log.read_text()
