"""Starts the textbook pipeline as its documentation says, one worker process an app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaProducer

from deploy.local.process import free_port, is_listening
from tests.bench import topics
from tests.bench.arrivals import Entry
from tests.bench.processes import Child, child, wait_until
from tests.bench.servers import Servers
from tests.bench.textbook.models import PARTITIONS
from tests.bench.workload import PEOPLE, is_opted_out, name_of

APPS = ("consent", "profile", "segment", "ingest")
TOPICS = ("events", "decisions", "permitted", "profiles", "transitions")
CHANGELOGS = ("consent-opted_out-changelog", "profile-profiles-changelog", "segment-memberships-changelog")
"""Faust would make them itself, but a worker that writes before its producer has heard of a new one fails."""


@dataclass(frozen=True, slots=True)
class Textbook:
    """The running pipeline."""

    port: int
    transitions: str
    workers: tuple[Child, ...]

    def check(self) -> None:
        """Raises BenchError when a worker has ended."""
        for worker in self.workers:
            worker.check()


@contextmanager
def textbook(servers: Servers, prefix: str) -> Iterator[Textbook]:
    """All four workers up, and every opt-out in consent's Table."""
    asyncio.run(topics.create(servers.kafka, {prefix + name: PARTITIONS for name in TOPICS}))
    compact = {"cleanup.policy": "compact"}
    asyncio.run(topics.create(servers.kafka, {prefix + name: PARTITIONS for name in CHANGELOGS}, compact))
    port = free_port()
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(topics.delete(servers.kafka, prefix)))
        opt_outs = asyncio.run(_decide(servers.kafka, prefix + "decisions"))
        workers = tuple(stack.enter_context(_worker(servers, prefix, app, port)) for app in APPS)
        wait_until(lambda: is_listening(port), 60, "the textbook's ingest", *workers)
        running = Textbook(port, prefix + "transitions", workers)
        asyncio.run(_applied(servers.kafka, prefix, opt_outs, running.check))
        yield running


def decode(value: bytes) -> tuple[Entry, bool]:
    transition = orjson.loads(value)
    return (transition["segment"], transition["person"]), transition["member"]


@contextmanager
def _worker(servers: Servers, prefix: str, app: str, port: int) -> Iterator[Child]:
    folder = servers.folder / f"textbook-{app}"
    folder.mkdir()
    environment = {
        "TEXTBOOK_KAFKA": servers.kafka,
        "TEXTBOOK_PREFIX": prefix,
        "TEXTBOOK_DATA": str(folder),
    }
    web = ("--web-port", str(port)) if app == "ingest" else ("--without-web",)
    arguments = ("-m", "faust", "-L", "uvloop", "-A", f"tests.bench.textbook.{app}", "worker", "-l", "info")
    with child(app, *arguments, *web, log=folder / "log", environment=environment) as worker:
        yield worker


async def _decide(kafka: str, topic: str) -> int:
    """Send an opt-out of everybody who opted out."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", max_batch_size=128 * 1024)
    await producer.start()
    people = [person for person in range(PEOPLE) if is_opted_out(person)]
    try:
        for person in people:
            value = orjson.dumps({"person": name_of(person), "denied": True})
            await producer.send(topic, value, key=name_of(person).encode())
        await producer.flush()
    finally:
        await producer.stop()
    return len(people)


async def _applied(kafka: str, prefix: str, opt_outs: int, check: Callable[[], None]) -> None:
    async with topics.Watch(kafka, prefix + "decisions", prefix + "consent") as watch:
        await topics.follow(watch.committed, opt_outs, 60, check)
