"""A local view of a compacted topic in an LMDB file, with the barrier that promise 2 rests on.

A look-up costs 0.9 µs in a warm file, two to three in a cold one of a million keys. The file remembers which
cluster and topic it is a copy of: where they differ, or it is past the topic's end, it is built anew, and the
view is closed meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import lmdb
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.offset import OffsetRequest

from services.kernel import metrics
from services.kernel.closing import close
from services.kernel.health import Health
from services.kernel.outcome import BadRecord, Outage
from services.kernel.settings import Settings
from services.kernel.topic_id import identity
from services.kernel.view_file import ViewFile

POLL_SECONDS = 0.001
"""How often a waiting barrier looks how far the view is. A transaction's control record wakes no consumer:
what waited for records would see it up to a whole poll time (200 ms) later."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")

log = logging.getLogger(__name__)


FOLLOWED = 1_000
"""Records taken up at once, about 10 ms: more would keep the event loop from everything else."""


class View:
    """The newest value of every key of a compacted topic.

    ``project`` turns a record's value into what is kept (small, so that look-ups are cheap); when its result
    changes its form, the folder needs another name. Processes that share ``folder`` take a file of their own
    in it. What the view knew before a restart it knows after it.
    """

    def __init__(
        self, settings: Settings, topic: str, folder: Path, project: Callable[[bytes], bytes], health: Health
    ) -> None:
        self._settings = settings
        self._topic = settings.topic(topic)
        self._lag = metrics.CONSENT_VIEW_LAG if topic == "consent.state" else None
        self._file = ViewFile(folder)
        self._project = project
        self._health = health
        self._part = f"view {topic}"
        self._mark = b""
        self._client: AIOKafkaClient | None = None
        self._consumer: Any = None
        self._task: asyncio.Task[None] | None = None
        health.red(self._part, "starting")

    async def start(self) -> None:
        """Open the file and begin to follow the topic; returns at once, :meth:`barrier` waits."""
        self._file.open()
        self._task = asyncio.create_task(self._run(), name=self._part)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._file.close()

    @property
    def task(self) -> asyncio.Task[None]:
        """The task that follows the topic: when it ends, the process can't go on."""
        if self._task is None:
            raise RuntimeError("the view is not started")
        return self._task

    async def barrier(self, seconds: float = 3.0) -> None:
        """Return once the view holds everything that was in the topic when this was called.

        Raises Outage when that takes longer than ``seconds``, or while the view is being built.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self._reach_end()
        except TimeoutError as error:
            raise Outage(f"{self._part} did not reach the topic's end within {seconds:g} s") from error
        except KafkaError as error:
            raise Outage(f"{self._part}: {type(error).__name__}") from error
        metrics.BARRIER.observe(time.monotonic() - started)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Callable[[bytes], bytes | None]]:
        """A function from key to projected value, None for keys that the topic does not hold; it sees one
        state of the view and must not be kept."""
        with self._file.reading() as transaction:
            yield transaction.get

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The projected value of each key, None for keys that the topic does not hold; one snapshot."""
        with self.snapshot() as get:
            return [get(key) for key in keys]

    def items(self) -> list[tuple[bytes, bytes]]:
        """Everything the view holds, sorted by key."""
        with self._file.reading() as transaction:
            return list(transaction.cursor())

    async def _reach_end(self) -> None:
        consumer = self._consumer
        if consumer is None:
            raise Outage(f"{self._part} is being built")
        partitions = consumer.assignment()
        before = {tp: await consumer.position(tp) for tp in partitions}
        ends, _ = await asyncio.gather(self._ends(partitions), self._same_topic())
        if any(position > ends[tp] for tp, position in before.items()):
            raise self._shorter()
        for tp, end in ends.items():
            while self._consumer is consumer and await consumer.position(tp) < end:  # noqa: ASYNC110 - no event
                await asyncio.sleep(POLL_SECONDS)
        if self._consumer is not consumer:
            raise Outage(f"{self._part} is being built")

    # --- following the topic -------------------------------------------------------------------------

    async def _run(self) -> None:
        delay = 0.2
        while True:
            try:
                async with self._connected() as consumer:
                    delay = 0.2
                    await self._follow(consumer)
            except (KafkaError, OSError, TimeoutError, Outage, lmdb.Error) as error:
                why = str(error) if isinstance(error, Outage) else type(error).__name__
                self._health.red(self._part, why)
                log.warning("outage", extra={"part": self._part, "why": why})
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A consumer at the view's positions, after making sure that the file is of this very topic."""
        client = AIOKafkaClient(bootstrap_servers=self._settings.kafka, request_timeout_ms=5000)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=4_000_000,
            request_timeout_ms=10_000,
        )
        try:
            await client.bootstrap()
            await client.add_topic(self._topic)
            self._client = client
            positions = await self._start_positions(client)
            await consumer.start()
            consumer.assign(list(positions))
            for tp, position in positions.items():
                consumer.seek(tp, position)
            yield consumer
        finally:
            self._consumer = self._client = None
            await close(consumer)
            await close(client)

    async def _start_positions(self, client: AIOKafkaClient) -> dict[TopicPartition, int]:
        cluster, topic_id, count = await identity(client, self._topic)
        self._mark = _mark(cluster, topic_id)
        partitions = [TopicPartition(self._topic, number) for number in range(count)]
        positions = {tp: self._file.position(tp.partition) for tp in partitions}
        ends = await self._ends(partitions)
        if self._file.identity() == self._mark and all(positions[tp] <= end for tp, end in ends.items()):
            return positions
        log.warning("view is built anew", extra={"part": self._part})
        self._health.red(self._part, "being built")
        self._file.clear(self._mark)
        return dict.fromkeys(partitions, 0)

    async def _follow(self, consumer: Any) -> None:
        """Apply the topic for ever. Raises Outage when the topic is another one than before."""
        partitions = consumer.assignment()
        reached = {tp: await consumer.position(tp) for tp in partitions}
        ends = await self._ends(partitions)
        caught_up = False
        checked = time.monotonic()
        while True:
            batch = await consumer.getmany(timeout_ms=200, max_records=FOLLOWED)
            # Nothing is awaited before the records are applied: to a barrier, position() means applied.
            self._apply(batch, reached)
            for tp in partitions:
                position = await consumer.position(tp)
                if position < reached[tp]:
                    raise self._shorter()
                reached[tp] = position
            if self._lag is not None:
                self._lag.set(sum(max(0, (consumer.highwater(tp) or 0) - reached[tp]) for tp in partitions))
            if not caught_up and all(reached[tp] >= end for tp, end in ends.items()):
                caught_up = True
                self._consumer = consumer
                self._health.green(self._part)
            if time.monotonic() - checked > 5:
                checked = time.monotonic()
                await self._same_topic()
            if caught_up and self._consumer is not consumer:
                raise Outage(f"{self._part} was closed by a barrier")

    def _apply(self, batch: dict[TopicPartition, list[Any]], reached: dict[TopicPartition, int]) -> None:
        """A value that can't be read is an error that stops the process: a view with a gap would lie."""
        if any(records[0].offset < reached[tp] for tp, records in batch.items()):
            raise self._shorter()
        changes = [
            (record.key, None if record.value is None else self._projected(record))
            for records in batch.values()
            for record in records
            if record.key is not None
        ]
        if batch:
            self._file.write(changes, {tp.partition: records[-1].offset + 1 for tp, records in batch.items()})

    def _projected(self, record: Any) -> bytes:
        try:
            return self._project(record.value)
        except BadRecord as error:
            place = f"{record.topic} partition {record.partition} offset {record.offset}"
            raise BadRecord(error.reason, place) from error

    def _shorter(self) -> Outage:
        """The topic lost records that the view has: close, and build anew."""
        self._consumer = None
        self._file.disown()
        return Outage(f"{self._part}: the topic is shorter than the view")

    async def _same_topic(self) -> None:
        """Raises Outage when the topic was created anew: its offsets say nothing about the view."""
        if self._client is None:
            raise Outage(f"{self._part} is not connected")
        cluster, topic_id, _ = await identity(self._client, self._topic)
        if _mark(cluster, topic_id) != self._mark:
            self._consumer = None
            raise Outage(f"{self._part}: the topic was created anew")

    async def _ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """End offsets, asked on a client of the view's own: behind a consumer's long poll the answer takes
        465 ms, here 1.6 ms."""
        client = self._client
        if client is None:
            raise Outage(f"{self._part} is not connected")
        by_leader: dict[int, list[int]] = {}
        for tp in partitions:
            leader = client.cluster.leader_for_partition(tp)
            if leader is None or leader == -1:
                await client.force_metadata_update()
                raise Outage(f"{self._part}: partition {tp.partition} has no leader")
            by_leader.setdefault(leader, []).append(tp.partition)
        ends: dict[TopicPartition, int] = {}
        for leader, own in by_leader.items():
            asked = [(partition, OffsetResetStrategy.LATEST) for partition in own]
            response = await client.send(leader, OffsetRequest(-1, 0, [(self._topic, asked)]))
            for _, answers in response.topics:
                for partition, error_code, _, offset, *_ in answers:
                    if error_code:
                        await client.force_metadata_update()
                        raise for_code(error_code)(self._topic)
                    ends[TopicPartition(self._topic, partition)] = offset
        return ends


def _mark(cluster: str, topic_id: bytes) -> bytes:
    return f"{cluster} {topic_id.hex()} {_boot()}".encode()


@functools.cache
def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else ""
