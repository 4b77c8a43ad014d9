"""freshness: milliseconds from HTTP 200 to the transition at an SSE subscriber, at 1,000 events/s.

Its baseline: the same events through four bare produce-consume hops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import orjson
from aiokafka import AIOKafkaConsumer

from deploy.local.process import free_port, is_listening
from tests.bench import requests, topics
from tests.bench.arrivals import Entry
from tests.bench.bench import Bench
from tests.bench.candor import Candor, partitions
from tests.bench.processes import BenchError, child, wait_until
from tests.bench.report import Row, compared
from tests.bench.requests import Part
from tests.bench.rows import stages
from tests.bench.workload import Call, Workload

EVENTS_PER_SECOND = 1_000
BATCH = 10
CONNECTIONS = 4
HOPS = 4
PATIENCE = 30


def run(bench: Bench, ours: Candor, workload: Workload, calls: Iterator[Call]) -> Iterator[Row]:
    """Goes on with the workload where it stands, on the system as it runs."""
    folder, count = bench.servers.folder, bench.events(2 * EVENTS_PER_SECOND)
    warm = requests.part(folder, workload, calls, count // 10, BATCH, "paced-warm")
    part = requests.part(folder, workload, calls, count, BATCH, "paced")
    hops = asyncio.run(_hops(bench, warm, part))
    before, batched = asyncio.run(stages.ends(ours.settings)), stages.batches(ours)
    with bench.measured("freshness", ours.pids, part.events) as cpu:
        sse = asyncio.run(_transitions(ours, warm, part))
    records = stages.records_per_batch(batched, stages.batches(ours))
    delays = asyncio.run(stages.delays(ours.settings, before))
    by_stage = {
        name: [round(_quantile(each, share)) for share in (0.5, 0.99)] for name, each in delays.items()
    }
    for name, share in (("freshness_p50", 0.5), ("freshness", 0.99)):
        yield compared(
            name,
            _quantile(sse, share),
            "ms",
            _quantile(hops, share),
            transitions=len(sse),
            events_per_second=EVENTS_PER_SECOND,
            batch=BATCH,
            by_stage_p50_p99=by_stage,
            records_per_batch=records,
            cpu_us_per_event=cpu,
        )


async def _transitions(ours: Candor, warm: Part, part: Part) -> list[float]:
    """Milliseconds by transition."""
    seen: dict[Entry, int] = {}
    listening = asyncio.Event()
    reader = asyncio.create_task(_subscribe(ours, seen, listening))
    await asyncio.wait_for(listening.wait(), PATIENCE)
    await _send(warm, ours.settings.ingest_port, ours.authorization)
    answers = await _send(part, ours.settings.ingest_port, ours.authorization)
    await _until(lambda: part.entries.keys() <= seen.keys(), "transitions at the subscriber", reader)
    reader.cancel()
    return [(seen[entry] - answers.answered[body]) / 1e6 for entry, body in part.entries.items()]


async def _subscribe(ours: Candor, seen: dict[Entry, int], listening: asyncio.Event) -> None:
    bearer = {"Authorization": f"Bearer {ours.tokens['admin']}"}
    address = f"{ours.services['segment'].url}/v1/stream"
    async with (
        httpx.AsyncClient(timeout=httpx.Timeout(PATIENCE)) as client,
        client.stream("GET", address, headers=bearer) as response,
    ):
        response.raise_for_status()
        async for line in response.aiter_lines():
            listening.set()
            if line.startswith("data: {"):
                now = time.monotonic_ns()
                shown = orjson.loads(line[6:])
                if "segment_key" in shown:
                    seen.setdefault(
                        (shown["segment_key"], shown["user_id"] or shown["anonymous_ids"][0]), now
                    )


async def _hops(bench: Bench, warm: Part, part: Part) -> list[float]:
    """Milliseconds by event: the echo writes to the first topic, three pass-throughs carry on, we read on."""
    prefix = f"bench-{bench.servers.folder.name}-hops."
    names = [f"{prefix}{number}" for number in range(HOPS)]
    kafka, folder, port = bench.servers.kafka, bench.servers.folder, free_port()
    await topics.create(kafka, dict.fromkeys(names, partitions("events.collected")))
    consumer = AIOKafkaConsumer(
        names[-1], bootstrap_servers=kafka, auto_offset_reset="earliest", fetch_max_wait_ms=20
    )
    with ExitStack() as stack:
        for source, target in zip(names, names[1:], strict=False):
            arguments = ("-m", "tests.bench.baselines.passthrough", kafka, source, target)
            stack.enter_context(child(target, *arguments, log=folder / f"{target}.log"))
        arguments = ("-m", "tests.bench.baselines.echo", str(port), kafka, names[0])
        echo = stack.enter_context(child("echo", *arguments, log=folder / "hops-echo.log"))
        wait_until(lambda: is_listening(port), 20, "the echo", echo)
        await consumer.start()
        seen: dict[str, int] = {}
        reader = asyncio.create_task(_read(consumer, seen))
        try:
            await _send(warm, port)
            await _until(lambda: len(seen) >= warm.events, "events through the hops", reader)
            answers = await _send(part, port)
            await _until(lambda: len(seen) >= warm.events + part.events, "events through the hops", reader)
        finally:
            reader.cancel()
            await consumer.stop()
    await topics.delete(kafka, prefix)
    return [(seen[message_id] - answers.answered[body]) / 1e6 for message_id, body in part.bodies.items()]


async def _read(consumer: AIOKafkaConsumer, seen: dict[str, int]) -> None:
    while True:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            now = time.monotonic_ns()
            for record in records:
                seen[orjson.loads(record.value)["messageId"]] = now


async def _send(part: Part, port: int, authorization: str = "") -> requests.Answers:
    rate = EVENTS_PER_SECOND / BATCH
    return await asyncio.to_thread(
        requests.send, part.file, port, connections=CONNECTIONS, rate=rate, authorization=authorization
    )


async def _until(condition: Callable[[], bool], what: str, reader: asyncio.Task[None]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if reader.done():
            reader.result()
            raise BenchError(f"the reader ended before all {what}")
        if time.monotonic() > deadline:
            raise BenchError(f"waited {PATIENCE} s for {what}")
        await asyncio.sleep(0.02)


def _quantile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return max(0.0, sorted(values)[min(len(values) - 1, int(share * len(values)))])
