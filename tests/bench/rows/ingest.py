"""ingest_batch and ingest_single: events a second accepted by one process, against the bare echo."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from statistics import median
from typing import NamedTuple

from deploy.local.process import free_port, is_listening
from tests.bench import requests, topics
from tests.bench.bench import Bench
from tests.bench.candor import candor, partitions
from tests.bench.processes import child, wait_until
from tests.bench.report import Row, compared

ROUNDS = 3


class Load(NamedTuple):
    """How a row is loaded: about how many events a second, in what requests."""

    name: str
    rate: int
    batch: int
    connections: int


BATCHES = Load("ingest_batch", 25_000, 100, 16)
SINGLES = Load("ingest_single", 4_000, 1, 128)


def run(bench: Bench, given: Load) -> Iterator[Row]:
    """Both stand ready all the while; they get the load in turns, and their medians count."""
    workload = bench.workload()
    count = bench.events(given.rate // ROUNDS)
    folder = bench.servers.folder
    part = requests.part(folder, workload, workload.calls(), count, given.batch, given.name)
    count = part.events
    with candor(bench.servers, given.name, ("ingest",)) as ours:
        topic, port = ours.settings.topic("echo"), free_port()
        asyncio.run(topics.create(bench.servers.kafka, {topic: partitions("events.collected")}))
        arguments = (str(port), bench.servers.kafka, topic)
        log = bench.servers.folder / "echo.log"
        with child("echo", "-m", "tests.bench.baselines.echo", *arguments, log=log) as echo:
            wait_until(lambda: is_listening(port), 20, "the echo", echo)

            def load(to: int, pids: Mapping[str, int]) -> tuple[float, dict[str, float]]:
                with bench.measured(given.name, pids, count) as cpu:
                    sent = requests.send(
                        part.file, to, connections=given.connections, authorization=ours.authorization
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
        given.name,
        value,
        "events/s",
        baseline,
        events=count * ROUNDS,
        connections=given.connections,
        cpu_us_per_event=our_cpu,
        baseline_cpu_us_per_event=echo_cpu,
    )
