"""A local view of a compacted topic in an LMDB file, with the barrier that promise 2 rests on.

A look-up costs 0.9 µs. The file remembers which cluster and topic it is a copy of: where they differ, or it
is past the topic's end, it is built anew, and the view is not ready meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lmdb
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.offset import OffsetRequest

from services.kernel import metrics
from services.kernel.health import Health
from services.kernel.outcome import BadRecord, Outage
from services.kernel.settings import Settings
from services.kernel.topic_id import identity

MAP_BYTES = 64 << 30
"""Upper bound of the file; address space only, nothing is allocated ahead."""
_IDENTITY = b"identity"

log = logging.getLogger(__name__)


class View:
    """The newest value of every key of a compacted topic.

    ``project`` turns a record's value into what is kept (small, so that look-ups are cheap). One process
    at a time may use the folder. What the view knew before a restart it knows after it.
    """

    def __init__(
        self, settings: Settings, topic: str, folder: Path, project: Callable[[bytes], bytes], health: Health
    ) -> None:
        self._settings = settings
        self._topic = settings.topic(topic)
        self._folder = folder
        self._project = project
        self._health = health
        self._part = f"view {topic}"
        self._environment: Any = None
        self._values: Any = None
        self._meta: Any = None
        self._client: AIOKafkaClient | None = None
        self._positions: dict[int, int] = {}
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._following = False
        self._mark = b""
        health.red(self._part, "starting")

    async def start(self) -> None:
        """Open the file and begin to follow the topic; returns at once, :meth:`barrier` waits."""
        self._open()
        self._task = asyncio.create_task(self._run(), name=self._part)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    @property
    def task(self) -> asyncio.Task[None]:
        """The task that follows the topic: when it ends, the process can't go on."""
        assert self._task is not None
        return self._task

    async def barrier(self, timeout: float = 3.0) -> None:
        """Return once the view holds everything that was in the topic when this was called.

        Raises Outage when that takes longer than ``timeout``, or while the view is being built.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                if not self._following:
                    raise Outage(f"{self._part} is being built")
                ends, _ = await asyncio.gather(self._ends(list(self._positions)), self._same_topic())
                if any(self._positions.get(p, 0) < end for p, end in ends.items()):
                    async with self._moved:
                        await self._moved.wait_for(
                            lambda: all(self._positions.get(p, 0) >= end for p, end in ends.items())
                        )
                if not self._following:
                    raise Outage(f"{self._part} is being built")
        except TimeoutError as error:
            raise Outage(f"{self._part} did not reach the topic's end within {timeout:g} s") from error
        except KafkaError as error:
            raise Outage(f"{self._part}: {type(error).__name__}") from error
        metrics.BARRIER.observe(time.monotonic() - started)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The projected value of each key, None for keys that the topic does not hold; one snapshot."""
        with self._environment.begin(self._values, buffers=False) as transaction:
            get = transaction.get
            return [get(key) for key in keys]

    def items(self) -> list[tuple[bytes, bytes]]:
        """Everything the view holds, sorted by key."""
        with self._environment.begin(self._values, buffers=False) as transaction:
            return list(transaction.cursor())

    # --- following the topic -------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # What a crash loses is read again from the topic: positions and values are one transaction.
        self._environment = lmdb.open(
            str(self._folder), map_size=MAP_BYTES, max_dbs=2, sync=False, metasync=False, max_readers=64
        )
        self._values = self._environment.open_db(b"values")
        self._meta = self._environment.open_db(b"meta")

    async def _run(self) -> None:
        delay = 0.2
        while True:
            try:
                async with self._connected() as consumer:
                    delay = 0.2
                    await self._follow(consumer)
            except (KafkaError, OSError, TimeoutError, Outage) as error:
                self._following = False
                self._health.red(self._part, f"kafka: {type(error).__name__}")
                log.warning("outage", extra={"part": self._part, "why": type(error).__name__})
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5)

    @contextlib.asynccontextmanager
    async def _connected(self) -> Any:
        """A consumer at the view's positions, after making sure that the file is of this very topic."""
        client = AIOKafkaClient(bootstrap_servers=self._settings.kafka, request_timeout_ms=5000)
        await client.bootstrap()
        old, self._client = self._client, client
        if old is not None:
            await old.close()
        cluster, topic_id, count = await identity(client, self._topic)
        await client.add_topic(self._topic)
        mark = self._mark = f"{cluster} {topic_id.hex()}".encode()
        stored = self._stored(count)
        ends = await self._ends(list(range(count)))
        if self._stored_identity() != mark or any(stored[p] > end for p, end in ends.items()):
            self._rebuild(mark)
            stored = dict.fromkeys(range(count), 0)
        self._positions = stored
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=4_000_000,
            request_timeout_ms=10_000,
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self._topic, p) for p in range(count)])
            for partition, position in stored.items():
                consumer.seek(TopicPartition(self._topic, partition), position)
            yield consumer
        finally:
            self._following = False
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(5):
                    await consumer.stop()

    async def _follow(self, consumer: Any) -> None:
        """Apply the topic for ever. Raises Outage when the topic is another one than before."""
        partitions = list(consumer.assignment())
        ends = await self._ends([tp.partition for tp in partitions])
        caught_up = False
        checked = time.monotonic()
        while True:
            batch = await consumer.getmany(timeout_ms=200, max_records=10_000)
            positions = {tp.partition: await consumer.position(tp) for tp in partitions}
            if any(position < self._positions[p] for p, position in positions.items()):
                raise Outage(f"{self._part}: the topic is shorter than the view")
            if batch or positions != self._positions:
                self._apply(batch, positions)
                async with self._moved:
                    self._positions = positions
                    self._moved.notify_all()
                metrics.CONSENT_VIEW_LAG.set(
                    sum(max(0, (consumer.highwater(tp) or 0) - positions[tp.partition]) for tp in partitions)
                )
            if not caught_up and all(positions[p] >= end for p, end in ends.items()):
                caught_up = self._following = True
                self._health.green(self._part)
            if time.monotonic() - checked > 5:
                checked = time.monotonic()
                await self._same_topic()

    def _apply(self, batch: dict[TopicPartition, list[Any]], positions: dict[int, int]) -> None:
        """Values and positions in one transaction. A value that can't be read is an error that stops."""
        with self._environment.begin(write=True) as transaction:
            for records in batch.values():
                for record in records:
                    if record.key is None:
                        continue
                    if record.value is None:
                        transaction.delete(record.key, db=self._values)
                        continue
                    try:
                        value = self._project(record.value)
                    except BadRecord as error:
                        place = f"partition {record.partition} offset {record.offset}"
                        raise BadRecord(error.reason, f"{self._topic} {place}") from error
                    transaction.put(record.key, value, db=self._values)
            for partition, position in positions.items():
                transaction.put(b"position %d" % partition, b"%d" % position, db=self._meta)

    async def _same_topic(self) -> None:
        """Raises Outage when the topic was created anew: its offsets say nothing about the view."""
        if self._client is None:
            raise Outage(f"{self._part} is not connected")
        cluster, topic_id, _ = await identity(self._client, self._topic)
        if f"{cluster} {topic_id.hex()}".encode() != self._mark:
            self._following = False
            raise Outage(f"{self._part}: the topic was created anew")

    async def _ends(self, partitions: list[int]) -> dict[int, int]:
        """End offsets, asked on a client of the view's own: behind a consumer's long poll the answer takes
        465 ms, here 1.6 ms."""
        client = self._client
        if client is None:
            raise Outage(f"{self._part} is not connected")
        by_leader: dict[int, list[int]] = {}
        for partition in partitions:
            leader = client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
            if leader is None or leader == -1:
                await client.force_metadata_update()
                raise Outage(f"{self._part}: partition {partition} has no leader")
            by_leader.setdefault(leader, []).append(partition)
        ends: dict[int, int] = {}
        for leader, own in by_leader.items():
            request = OffsetRequest(
                -1, 0, [(self._topic, [(partition, OffsetResetStrategy.LATEST) for partition in own])]
            )
            response = await client.send(leader, request)
            for _, answers in response.topics:
                for partition, error_code, _, offset, *_ in answers:
                    if error_code:
                        await client.force_metadata_update()
                        raise for_code(error_code)(self._topic)
                    ends[partition] = offset
        return ends

    def _stored_identity(self) -> bytes | None:
        with self._environment.begin(self._meta) as transaction:
            value: bytes | None = transaction.get(_IDENTITY)
            return value

    def _stored(self, count: int) -> dict[int, int]:
        with self._environment.begin(self._meta) as transaction:
            return {p: int(transaction.get(b"position %d" % p, b"0")) for p in range(count)}

    def _rebuild(self, mark: bytes) -> None:
        """Forget everything: the file was of another topic, or of more than this one holds."""
        log.warning("view is built anew", extra={"part": self._part})
        self._following = False
        self._health.red(self._part, "being built")
        self._environment.close()
        shutil.rmtree(self._folder)
        self._open()
        with self._environment.begin(self._meta, write=True) as transaction:
            transaction.put(_IDENTITY, mark)
