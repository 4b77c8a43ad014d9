"""gate: events a second through the gate, 1 M identifiers bearing a state, against a bare pass-through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

from services.kernel.settings import Settings
from tests.bench import topics
from tests.bench.bench import Bench
from tests.bench.candor import candor, decide, events, partitions
from tests.bench.processes import child
from tests.bench.report import Row, compared
from tests.bench.workload import is_opted_out

RATE = 60_000
IDENTIFIERS = 1_000_000


def run(bench: Bench) -> Iterator[Row]:
    """The same records twice: first the pass-through reads them, then the gate, which truncates them."""
    calls = list(islice(bench.workload().calls(), min(bench.events(RATE), 60_000)))
    repeats = max(1, bench.events(RATE) // len(calls))
    permitted = repeats * sum(not is_opted_out(call.person) for call in calls)
    count = repeats * len(calls)
    found: dict[str, tuple[float, dict[str, float]]] = {}

    def before(settings: Settings) -> None:
        source, target = settings.topic("events.collected"), settings.topic("pass")
        records = list(events(calls, settings.hasher(), permitted=False))
        for _ in range(repeats):
            asyncio.run(topics.fill(settings.kafka, source, records))
        asyncio.run(decide(settings, IDENTIFIERS))
        asyncio.run(topics.create(settings.kafka, {target: partitions("events.collected")}))
        arguments = ("-m", "tests.bench.baselines.passthrough", settings.kafka, source, target)
        with child("pass", *arguments, log=bench.servers.folder / "pass.log") as passing:
            found["pass"] = _through(bench, {"pass": passing.pid}, target, count, count, passing.check)

    with candor(bench.servers, "gate", ("consent",), before) as ours:
        target = ours.settings.topic("events.permitted")
        found["gate"] = _through(bench, ours.pids, target, permitted, count, ours.check)
    (baseline, baseline_cpu), (value, cpu) = found["pass"], found["gate"]
    yield compared("gate", value, "events/s", baseline, events=count, identifiers=IDENTIFIERS,
                   cpu_us_per_event=cpu, baseline_cpu_us_per_event=baseline_cpu)  # fmt: skip


def _through(
    bench: Bench, pids: dict[str, int], target: str, written: int, read: int, check: Callable[[], None]
) -> tuple[float, dict[str, float]]:
    """Events read a second, and CPU, until `written` records stand in `target`; the start-up is left out."""

    async def follow() -> topics.Progress:
        async with topics.Watch(bench.servers.kafka, target) as watch:
            return await topics.follow(watch.written, written, 120, check)

    with bench.measured("gate", pids, read) as cpu:
        progress = asyncio.run(follow())
    return progress.rate * read / written, cpu
