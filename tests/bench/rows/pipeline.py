"""The rows that need the whole pipeline.

end_to_end: events a second from HTTP batches to the last transition in Kafka, against the textbook pipeline.
memory: RssAnon of each of our processes right after it. freshness: on the same running system.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.kernel.settings import Settings
from tests.bench import requests
from tests.bench.arrivals import Arrivals, Entry
from tests.bench.bench import Bench
from tests.bench.candor import Candor, candor, decide, decisions_heard, decode, define_segments
from tests.bench.processes import resident_anonymous
from tests.bench.report import Row, alone, compared
from tests.bench.requests import Part
from tests.bench.rows import freshness
from tests.bench.textbook.run import Textbook, textbook
from tests.bench.textbook.run import decode as decode_textbook
from tests.bench.workload import Call, Workload

ROWS = ("end_to_end", "memory", "freshness")
RATE = 4_000
TEXTBOOK_RATE = 1_500
BATCH = 100
CONNECTIONS = 8
WARM_SHARE = 5
"""A fifth as many events go before, for warming up."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A running pipeline, ours or the textbook's."""

    port: int
    transitions: str
    decode: Callable[[bytes], tuple[Entry, bool]]
    pids: Mapping[str, int]
    check: Callable[[], None]
    authorization: str = ""


def run(bench: Bench, wanted: Collection[str]) -> Iterator[Row]:
    """The textbook first; then ours, on which memory and freshness are measured as well."""
    if "end_to_end" in wanted:
        baseline, baseline_detail = _textbook(bench)
    decisions = 0

    def before(settings: Settings) -> None:
        nonlocal decisions
        decisions = asyncio.run(decide(settings))

    with candor(bench.servers, "pipeline", before=before) as ours:
        define_segments(ours)
        asyncio.run(decisions_heard(ours, decisions))
        workload = bench.workload()
        calls = workload.calls()
        value, detail = asyncio.run(_through(bench, _ours(ours), workload, calls, RATE))
        if "end_to_end" in wanted:
            yield compared("end_to_end", value, "events/s", baseline, **detail, of_baseline=baseline_detail)
        if "memory" in wanted:
            yield _memory(ours)
        if "freshness" in wanted:
            yield from freshness.run(bench, ours, workload, calls)


def _textbook(bench: Bench) -> tuple[float, dict[str, Any]]:
    with textbook(bench.servers, f"bench-{bench.servers.folder.name}-textbook.") as theirs:
        workload = bench.workload()
        return asyncio.run(_through(bench, _theirs(theirs), workload, workload.calls(), TEXTBOOK_RATE))


def _theirs(running: Textbook) -> Pipeline:
    pids = {worker.name: worker.pid for worker in running.workers}
    return Pipeline(running.port, running.transitions, decode_textbook, pids, running.check)


def _ours(running: Candor) -> Pipeline:
    settings = running.settings
    return Pipeline(
        settings.ingest_port,
        settings.topic("segments.transitions"),
        decode,
        running.pids,
        running.check,
        running.authorization,
    )


def _memory(ours: Candor) -> Row:
    each = {name: round(resident_anonymous(pid), 1) for name, pid in ours.pids.items()}
    return alone("memory", max(each.values()), "MB", services=each)


async def _through(
    bench: Bench, pipeline: Pipeline, workload: Workload, calls: Iterator[Call], rate: int
) -> tuple[float, dict[str, Any]]:
    """Events a second from the first request to the last transition, when all that must come have come."""
    count, folder = bench.events(rate), bench.servers.folder
    warm = requests.part(folder, workload, calls, count // WARM_SHARE, BATCH, "warm")
    main = requests.part(folder, workload, calls, count, BATCH, "main")
    async with Arrivals(bench.servers.kafka, pipeline.transitions, pipeline.decode) as arrivals:
        await _send(pipeline, warm)
        await arrivals.all_of(warm.entries, 120, pipeline.check)
        with bench.measured("end_to_end", pipeline.pids, count) as cpu:
            answers = await _send(pipeline, main)
            last = await arrivals.all_of(main.entries, 240, pipeline.check)
    return count / ((last - answers.started) / 1e9), {
        "events": count,
        "transitions": len(main.entries),
        "accepted_per_second": round(count / answers.seconds),
        "repeats_after_503": answers.repeats,
        "cpu_us_per_event": {**cpu, "load": round(answers.cpu / count * 1e6, 1)},
    }


async def _send(pipeline: Pipeline, part: Part) -> requests.Answers:
    return await asyncio.to_thread(
        requests.send, part.file, pipeline.port, connections=CONNECTIONS, authorization=pipeline.authorization
    )
