"""profile: events a second applied, relay included, against Postgres alone doing as many rows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import islice

from services.kernel.settings import Settings
from tests.bench import topics
from tests.bench.bench import Bench
from tests.bench.candor import Candor, candor, decide, decisions_heard, events
from tests.bench.processes import child
from tests.bench.report import Row, compared
from tests.bench.topics import Raw
from tests.bench.workload import is_opted_out

RATE = 6_000
BASELINE_RATE = 30_000
WARM_SHARE = 5
"""The first fifth is for warming up and left out."""


def run(bench: Bench) -> Iterator[Row]:
    """A backlog in events.permitted; done when all is committed and the last golden record is published."""
    baseline, baseline_cpu = _postgres(bench)
    decisions = 0

    def before(settings: Settings) -> None:
        nonlocal decisions
        decisions = asyncio.run(decide(settings))

    with candor(bench.servers, "profile", ("profile",), before) as ours:
        permitted = (call for call in bench.workload().calls() if not is_opted_out(call.person))
        records = list(events(islice(permitted, bench.events(RATE)), ours.settings.hasher(), permitted=True))
        asyncio.run(decisions_heard(ours, decisions))
        with bench.measured("profile", ours.pids, len(records)) as cpu:
            progress, golden = asyncio.run(_applied(ours, records))
    yield compared(
        "profile",
        progress.rate,
        "events/s",
        baseline,
        events=progress.records,
        golden_records=golden,
        cpu_us_per_event=cpu,
        baseline_cpu_us_per_event=baseline_cpu,
    )


async def _applied(ours: Candor, backlog: list[tuple[int, Raw]]) -> tuple[topics.Progress, int]:
    settings, count = ours.settings, len(backlog)
    async with (
        topics.Watch(
            settings.kafka, settings.topic("events.permitted"), settings.topic("profile")
        ) as events_,
        topics.Watch(settings.kafka, settings.topic("profiles.state")) as records,
    ):
        await topics.fill(settings.kafka, settings.topic("events.permitted"), backlog)
        progress = await topics.follow(events_.committed, count, 180, ours.check, skip=count // WARM_SHARE)
        committed = time.monotonic()
        published, last = await topics.settled(records.written)
    return topics.Progress(progress.records, progress.seconds + max(0.0, last - committed)), published


def _postgres(bench: Bench) -> tuple[float, dict[str, float]]:
    rows = bench.events(BASELINE_RATE)
    result = bench.servers.folder / "postgres.json"
    with bench.servers.database() as database:
        dsn = f"postgresql://{database.user}:{database.password}@{database.host}:{database.port}/{database.database}"
        arguments = ("-m", "tests.bench.baselines.postgres", dsn, str(rows), str(result))
        with (
            child("read-modify-write", *arguments, log=result.with_suffix(".log")) as baseline,
            bench.measured("profile", {"read-modify-write": baseline.pid}, rows) as cpu,
        ):
            baseline.wait(180)
    done = json.loads(result.read_text())
    return done["rows"] / done["seconds"], cpu | {
        "read-modify-write": round(done["cpu"] / done["rows"] * 1e6, 1)
    }
