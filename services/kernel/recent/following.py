"""Follows the topics and the stages' commits, and enters what it sees into a book.

The gate truncates what it has judged every few seconds, so records are fetched as soon as they come. One that
was truncated before (the follower a tenth of a second behind at the moment of a truncation) is seen in
events.permitted or deadletters all the same, and missed only where it was dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.kernel import deadletter, topics
from services.kernel.clock import Clock
from services.kernel.closing import close
from services.kernel.outcome import Outage
from services.kernel.policy.watching import InForce
from services.kernel.recent.book import Book, Seen
from services.kernel.settings import Settings

COLLECTED = "events.collected"
PERMITTED = "events.permitted"
GATE_GROUP = "consent-gate"
PROFILE_GROUP = "profile"
IDLE_SECONDS = 60
"""Without a question for so long, following stops."""
_START_SECONDS = 10
_COMMITS_SECONDS = 0.1
"""Between two looks at the commits."""

log = logging.getLogger(__name__)


def new_book(
    settings: Settings, policies: InForce, clock: Clock, changed: Callable[[Seen], None] = lambda _: None
) -> Book:
    """A book for the topics of these settings."""
    return Book((settings.topic(COLLECTED), settings.topic(PERMITTED)), policies, clock, changed)


class Follower:
    """Enters into the book what comes from ``run`` on. ``following`` is set once nothing can be missed."""

    def __init__(self, settings: Settings, book: Book) -> None:
        self._settings = settings
        self._book = book
        self.following = asyncio.Event()
        self._enter = {
            settings.topic(COLLECTED): book.collected,
            settings.topic(PERMITTED): book.permitted,
            settings.topic(deadletter.TOPIC): book.letter,
        }

    async def run(self) -> None:
        """Follow until cancelled. Raises Outage."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
        )
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka, request_timeout_ms=10_000)
        try:
            await topics.ensure(self._settings, [COLLECTED, PERMITTED, deadletter.TOPIC])
            await consumer.start()
            await admin.start()
            await self._to_the_ends(consumer)
            self.following.set()
            await self._follow(consumer, admin)
        except (KafkaError, OSError) as error:
            raise Outage(f"Kafka at {self._settings.kafka}: {error or type(error).__name__}") from error
        finally:
            await close(consumer)
            await admin.close()

    async def _to_the_ends(self, consumer: Any) -> None:
        registry = topics.registry()
        partitions = [
            TopicPartition(self._settings.topic(name), number)
            for name in (COLLECTED, PERMITTED, deadletter.TOPIC)
            for number in range(registry[name].partitions)
        ]
        consumer.assign(partitions)
        for tp, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(tp, end)

    async def _follow(self, consumer: Any, admin: AIOKafkaAdminClient) -> None:
        """Commits count once all is read that the stages wrote by then: they write before they commit."""
        written = [tp for tp in consumer.assignment() if tp.topic != self._settings.topic(COLLECTED)]
        loop = asyncio.get_running_loop()
        looked = loop.time()
        commits: tuple[dict[int, int], dict[int, int]] | None = None
        ends: dict[TopicPartition, int] = {}
        while True:
            await self._read(consumer)
            if commits is None and self._book.waiting and loop.time() - looked > _COMMITS_SECONDS:
                looked = loop.time()
                commits = await self._commits(admin)
                ends = await consumer.end_offsets(written)
            if commits is not None and all([await consumer.position(tp) >= ends[tp] for tp in written]):
                self._book.settle(*commits)
                commits = None

    async def _read(self, consumer: Any) -> None:
        batch = await consumer.getmany(timeout_ms=50)
        for topic, enter in self._enter.items():
            for tp, records in batch.items():
                if tp.topic == topic:
                    for record in records:
                        enter(record)

    async def _commits(self, admin: AIOKafkaAdminClient) -> tuple[dict[int, int], dict[int, int]] | None:
        """The committed offsets of gate and profile by partition, None while Kafka can't tell."""
        try:
            gate = await admin.list_consumer_group_offsets(self._settings.topic(GATE_GROUP))
            profile = await admin.list_consumer_group_offsets(self._settings.topic(PROFILE_GROUP))
        except KafkaError as error:
            log.info("commits can't be read now", extra={"why": type(error).__name__})
            return None
        return self._by_partition(gate, COLLECTED), self._by_partition(profile, PERMITTED)

    def _by_partition(self, offsets: dict[TopicPartition, Any], topic: str) -> dict[int, int]:
        read = self._settings.topic(topic)
        return {tp.partition: found.offset for tp, found in offsets.items() if tp.topic == read}


class Recent:
    """Answers what became of a source's events. Follows from the first question on until none has come for
    ``idle_seconds``; what came before the first one for a source is not known."""

    def __init__(
        self, settings: Settings, policies: InForce, clock: Clock, *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._settings = settings
        self._policies = policies
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._book: Book | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked = 0.0
        self._starting = asyncio.Lock()

    @property
    def is_following(self) -> bool:
        return self._book is not None

    async def of(self, source: str) -> dict[str, Any]:
        """``since``: the time from which on nothing is left out, µs. ``events``: as :meth:`Book.recent` shows
        them, the newest first. Raises Outage while Kafka does not answer."""
        self._asked = asyncio.get_running_loop().time()
        async with self._starting:
            book = self._book or await self._start()
        since = book.watch(source)
        return {"source": source, "since": since, "events": book.recent(source)}

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _start(self) -> Book:
        book = new_book(self._settings, self._policies, self._clock)
        follower = Follower(self._settings, book)
        self._task = asyncio.create_task(self._run(follower))
        ready = asyncio.create_task(follower.following.wait())
        await asyncio.wait({self._task, ready}, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not follower.following.is_set():
            ready.cancel()
            await self.stop()
            raise Outage("the topics can't be followed now")
        self._book = book
        return book

    async def _run(self, follower: Follower) -> None:
        """Follow until nobody asks any more. An outage ends it as well: the next question starts it anew."""
        running = asyncio.create_task(follower.run())
        loop = asyncio.get_running_loop()
        try:
            while not running.done() and loop.time() - self._asked < self._idle_seconds:
                await asyncio.wait({running}, timeout=min(1, self._idle_seconds))
            if running.done() and (error := running.exception()) is not None:
                log.warning("recent events are not followed", extra={"why": str(error)})
        finally:
            self._book = None
            running.cancel()
            await asyncio.wait({running})
