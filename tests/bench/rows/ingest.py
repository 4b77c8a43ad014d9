"""ingest_batch: events a second accepted in batches of 100, one process, against the bare echo."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from statistics import median

from deploy.local.process import free_port, is_listening
from tests.bench import requests, topics
from tests.bench.bench import Bench
from tests.bench.candor import candor, partitions
from tests.bench.processes import child, wait_until
from tests.bench.report import Row, compared

RATE = 25_000
BATCH = 100
CONNECTIONS = 16
ROUNDS = 3


def run(bench: Bench) -> Iterator[Row]:
    """Both stand ready all the while; they get the load in turns, and their medians count."""
    workload = bench.workload()
    part = requests.part(
        bench.servers.folder, workload, workload.calls(), bench.events(RATE // ROUNDS), BATCH, "ingest"
    )
    count = part.events
    with candor(bench.servers, "ingest", ("ingest",)) as ours:
        topic, port = ours.settings.topic("echo"), free_port()
        asyncio.run(topics.create(bench.servers.kafka, {topic: partitions("events.collected")}))
        arguments = (str(port), bench.servers.kafka, topic)
        log = bench.servers.folder / "echo.log"
        with child("echo", "-m", "tests.bench.baselines.echo", *arguments, log=log) as echo:
            wait_until(lambda: is_listening(port), 20, "the echo", echo)

            def load(to: int, pids: Mapping[str, int]) -> tuple[float, dict[str, float]]:
                with bench.measured("ingest_batch", pids, count) as cpu:
                    sent = requests.send(
                        part.file, to, connections=CONNECTIONS, authorization=ours.authorization
                    )
                return count / sent.seconds, {**cpu, "load": round(sent.cpu / count * 1e6, 1)}

            turns = [
                (
                    load(port, {"echo": echo.pid}),
                    load(ours.settings.ingest_port, ours.pids),
                )
                for _ in range(ROUNDS + 1)
            ][1:]
    baseline, value = (median(rate for rate, _ in side) for side in zip(*turns, strict=True))
    (_, echo_cpu), (_, our_cpu) = turns[-1]
    yield compared(
        "ingest_batch",
        value,
        "events/s",
        baseline,
        events=count * ROUNDS,
        connections=CONNECTIONS,
        cpu_us_per_event=our_cpu,
        baseline_cpu_us_per_event=echo_cpu,
    )
