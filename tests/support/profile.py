"""The profile service's parts for tests: events and decisions to feed it, workers, and what it published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import codec, headers
from services.kernel.clock import DAY, Clock
from services.kernel.consume import BatchLoop
from services.kernel.deadletter import DeadLetters
from services.kernel.events import ConsentState, DeadLetter, Event, GoldenRecord, Grant, IdentityLink
from services.kernel.handler import Batch, Record
from services.kernel.health import Health
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, join
from services.kernel.message import Message
from services.kernel.outcome import Outage
from services.kernel.permission import Judge, project
from services.kernel.postgres import Pool, connect
from services.kernel.produce import BatchProducer
from services.kernel.relay import Relay
from services.kernel.settings import Settings
from services.kernel.view import View
from services.profile.control import Control
from services.profile.flow.applying import Applying
from services.profile.flow.decisions import Decisions
from services.profile.flow.publishing import GoldenRecords, Links
from services.profile.flow.reading import Reader
from services.profile.store import CHANNEL
from tests.support.connecting import connected
from tests.support.policy import InForce, policy

PURPOSES = ("analytics", "marketing")


def make_event(clock: Clock, message_id: str, **fields: Any) -> Event:
    """A track of now, received now. ``properties`` and ``traits`` go into the payload; ``ago`` in µs."""
    payload = {name: fields.pop(name) for name in ("properties", "traits") if name in fields}
    received = fields.pop("received_at", clock.now())
    values: dict[str, Any] = {
        "message_id": message_id,
        "source": "web",
        "type": "track",
        "name": "Viewed",
        "user_id": None,
        "anonymous_id": None,
        "previous_id": None,
        "group_id": None,
        "timestamp": received - fields.pop("ago", 0),
        "timestamp_bounded": False,
        "received_at": received,
        "received_day": received // DAY,
        "payload": msgspec.json.encode(payload),
    }
    return Event(**(values | fields))


@dataclass
class World:
    """The topics around the profile service and what hashes identifiers."""

    settings: Settings
    clock: Clock
    producer: BatchProducer

    def user(self, value: str) -> bytes:
        return self.settings.hasher()(USER_ID, value)

    def anonymous(self, value: str) -> bytes:
        return self.settings.hasher()(ANONYMOUS_ID, value)

    def message(self, event: Event) -> Message:
        """The event as the gate passes it on."""
        ids = [self.user(event.user_id)] if event.user_id else []
        ids += [self.anonymous(event.anonymous_id)] if event.anonymous_id else []
        if event.previous_id:
            ids += [self.user(event.previous_id), self.anonymous(event.previous_id)]
        return Message(ids[0], codec.encode(event), [(headers.IDENTIFIERS, join(ids))])

    async def permit(self, *events: Event, partition: int | None = None) -> None:
        """Put events into events.permitted."""
        await self.producer.produce("events.permitted", partition, [self.message(e) for e in events])

    async def decide(
        self, id: bytes, *, denied: Sequence[str] = (), granted: dict[str, int] | None = None
    ) -> None:
        """Put an identifier's effective state into consent.state; ``granted`` with the times they end."""
        grants = [Grant(purpose, at) for purpose, at in sorted((granted or {}).items())]
        state = ConsentState(1, sorted(denied), grants, False, self.clock.now())
        await self.producer.produce("consent.state", None, [Message(id, codec.encode(state))])

    async def read(self, topic: str) -> list[Record]:
        """All committed records of a topic, in the order of each partition."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            name = self.settings.topic(topic)
            count = await self.producer.partitions(topic)
            partitions = [TopicPartition(name, partition) for partition in range(count)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[Record] = []
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def golden(self) -> dict[str, GoldenRecord]:
        """What profiles.state holds: the newest record by profile id, without those withdrawn."""
        newest: dict[str, GoldenRecord] = {}
        for record in await self.read("profiles.state"):
            assert record.key is not None
            profile_id = record.key.decode()
            newest.pop(profile_id, None)
            if record.value is not None:
                newest[profile_id] = codec.decode(GoldenRecord, record.value)
        return newest

    async def links(self) -> list[IdentityLink]:
        return [codec.decode(IdentityLink, record.value) for record in await self.read("identity.links")]

    async def dead_letters(self) -> list[DeadLetter]:
        return [codec.decode(DeadLetter, record.value) for record in await self.read("deadletters")]


@dataclass
class Worker:
    """The parts of one profile process, connected; nothing runs by itself."""

    world: World
    pool: Pool
    view: View
    applying: Applying
    decisions: Decisions
    golden: GoldenRecords
    control: Control

    def loop(self, group: str = "profile") -> BatchLoop:
        """The loop over events.permitted."""
        return BatchLoop(
            self.world.settings,
            group=group,
            topics=["events.permitted"],
            handler=self.applying,
            stage="profile",
            health=Health("test"),
            idle_seconds=0.1,
        )

    def decision_loop(self) -> BatchLoop:
        return BatchLoop(
            self.world.settings,
            group="profile-decisions",
            topics=["consent.state"],
            handler=self.decisions,
            stage="profile-decisions",
            health=Health("test"),
            idle_seconds=0.1,
        )

    def relays(self) -> list[Relay]:
        settings, health = self.world.settings, Health("test")
        return [
            Relay(settings, "profiles", self.pool, self.golden, health, sweep=0.1, channel=CHANNEL),
            Relay(settings, "links", self.pool, Links(), health, sweep=0.1, channel=CHANNEL),
        ]

    @asynccontextmanager
    async def view_held(self) -> AsyncIterator[None]:
        """Meanwhile the view reads nothing, as if the broker were slow."""
        consumer = self.view._consumer
        consumer.pause(*consumer.assignment())
        try:
            yield
        finally:
            consumer.resume(*consumer.assignment())

    async def waiting(self, partitions: Iterable[int]) -> Batch:
        """What stands in these partitions of events.permitted, as the loop would hand it over."""
        wanted = set(partitions)
        batch: Batch = {}
        for record in await self.world.read("events.permitted"):
            if record.partition in wanted:
                batch.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        return batch

    async def claim(self, partitions: Iterable[int]) -> None:
        """Take these partitions over, as a rebalance does."""
        topic = self.world.settings.topic("events.permitted")
        await self.applying.assigned({TopicPartition(topic, partition) for partition in partitions})

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.pool.fetchval(query, *arguments)

    async def published(self) -> None:
        """Wait until all that changed is published."""
        await eventually(self.nothing_marked)

    async def nothing_marked(self) -> bool:
        marks: int = await self.value("SELECT count(*) FROM marks")
        links: int = await self.value("SELECT count(*) FROM unpublished_links")
        return not marks and not links

    async def applied(self, count: int) -> None:
        """Wait until so many events are kept."""

        async def enough() -> bool:
            kept: int = await self.value("SELECT count(*) FROM events")
            assert kept <= count
            return kept == count

        await eventually(enough)

    async def caught_up(self) -> None:
        """Wait until Postgres has passed everything that stands in events.permitted now."""
        ends: dict[int, int] = {}
        for record in await self.world.read("events.permitted"):
            ends[record.partition] = record.offset + 1

        async def passed() -> bool:
            rows = await self.pool.fetch("SELECT partition, next_offset FROM partitions")
            offsets = {row[0]: row[1] for row in rows}
            return all(offsets.get(partition, 0) >= end for partition, end in ends.items())

        await eventually(passed)


@asynccontextmanager
async def worker(
    world: World, *, regime: str = "opt_out", policies: InForce | None = None
) -> AsyncIterator[Worker]:
    """A worker of the profile service, by that policy or by one of that regime. Several may live at once."""
    settings, clock = world.settings, world.clock
    policies = policies or InForce(policy(regime, purposes=PURPOSES))
    async with AsyncExitStack() as stack:
        pool = await connect(settings, "profile")
        stack.push_async_callback(_closed, pool)
        view = View(settings, "consent.state", settings.home / "consent", project, Health("test"))
        await view.start()
        stack.push_async_callback(view.stop)
        judge = Judge(policies)
        dead_letters = DeadLetters(world.producer, clock, "profile")
        reader = Reader(settings.hasher())
        applying = Applying(pool, view, judge, reader, world.producer, dead_letters, clock)
        decisions = Decisions(pool, dead_letters, clock)
        golden = GoldenRecords(view, judge, clock)
        control = Control(pool, policies, clock)
        await control.turn_days()
        await eventually(lambda: _follows(view))
        yield Worker(world, pool, view, applying, decisions, golden, control)


async def _closed(pool: Pool) -> None:
    pool.terminate()


async def _follows(view: View) -> bool:
    with suppress(Outage):
        await view.barrier()
        return True
    return False


@asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    """Run these loops and relays meanwhile; one that ends early fails the test."""
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
        for part in parts:
            await connected(part._health)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
