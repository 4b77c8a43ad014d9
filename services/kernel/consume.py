"""THE batch loop of the data plane, with the failure rule in one place.

fetch → handler (decode, decide, one transaction, produce and await acks) → commit. The commit comes last.

- An error in Kafka or Postgres is an outage: nothing is committed, back off, readiness goes red, fetch again.
  It turns green with the next batch that is handled, or once Kafka says that nothing is left to handle: a
  fetch that brings nothing proves nothing.
- Deadlock and serialization errors are retried at once.
- A bad record that the handler could not name itself (a Postgres data error, a BadRecord) is found by
  bisecting the batch, and refused.
- A handler may say that a bad record must not be passed over (PartitionStopped): its partition rests, and
  readiness is red, while the others go on.
- Too many dead letters in a row stop the process: a bad deploy must not eat the topic.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from services.kernel import metrics
from services.kernel.closing import close
from services.kernel.handler import Batch, Handler, PartitionStopped
from services.kernel.health import Health
from services.kernel.lag import Lag
from services.kernel.outcome import BadRecord, Dead, Outage, TooManyDead
from services.kernel.postgres import DATA, OUTAGES, RETRY
from services.kernel.settings import Settings

TOP_UP_MILLISECONDS = 4
_BAD: tuple[type[Exception], ...] = (BadRecord, *DATA)
WATCH_SECONDS = 5
"""How often Kafka is asked where the partitions end; until it works RECOVERY_SECONDS."""
RECOVERY_SECONDS = 0.2

log = logging.getLogger(__name__)


class BatchLoop:
    """Runs one handler over the topics of one consumer group until cancelled.

    ``max_records`` bounds a batch; ``dead_in_row`` batches consisting of dead letters only, counted in
    records, stop the process.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        group: str,
        topics: Iterable[str],
        handler: Handler,
        stage: str,
        health: Health,
        max_records: int = 2000,
        dead_in_row: int = 1000,
        idle_seconds: float = 0.5,
        session_seconds: float = 15,
    ) -> None:
        self._settings = settings
        self._group = settings.topic_prefix + group
        self._topics = [settings.topic(topic) for topic in topics]
        self._handler = handler
        self._stage = stage
        self._health = health
        self._part = f"loop {stage}"
        self._max_records = max_records
        self._dead_limit = dead_in_row
        self._idle_seconds = idle_seconds
        self._session_seconds = session_seconds
        self._limit = max_records
        self._lag = Lag(settings)
        self._dead_in_row = 0
        self._busy = asyncio.Lock()
        self._generation = 0
        self._starts: dict[TopicPartition, int] = {}
        self._failed: BaseException | None = None
        self._stopped: set[str] = set()
        self._outage_since: float | None = None
        self._works = False
        self._watching: asyncio.Task[None] | None = None
        health.red(self._part, "starting")

    async def run(self) -> None:
        """Consume until cancelled. Raises TooManyDead, or whatever is neither an outage nor a bad record."""
        delay = 0.2
        while True:
            try:
                async with self._consumer() as consumer:
                    delay = 0.2
                    await self._consume(consumer)
            except (KafkaError, Outage, *OUTAGES, *RETRY) as error:
                self._outage(error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5)

    @contextlib.asynccontextmanager
    async def _consumer(self) -> Any:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            group_id=self._group,
            client_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(self._session_seconds * 1000),
            heartbeat_interval_ms=int(self._session_seconds * 100),
            rebalance_timeout_ms=60_000,
            max_poll_interval_ms=600_000,
            max_partition_fetch_bytes=4_000_000,
            fetch_max_bytes=16_000_000,
            fetch_max_wait_ms=500,
            request_timeout_ms=30_000,
            metadata_max_age_ms=60_000,
        )
        self._failed = None
        self._starts = {}
        consumer.subscribe(self._topics, listener=_Listener(self, consumer))
        self._watching = asyncio.create_task(self._watch(consumer))
        try:
            await consumer.start()
            yield consumer
        finally:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._lag.assign(())
            await close(consumer, 10)

    async def _consume(self, consumer: Any) -> None:
        idle_since = time.monotonic()
        while True:
            generation = self._generation
            batch = await self._fetched(consumer)
            async with self._busy:
                if self._failed is not None:
                    raise self._failed
                if generation != self._generation:
                    self._back(consumer, batch, fresh=True)
                    continue
                if batch:
                    self._lag.in_hand = batch
                    try:
                        await self._process(consumer, batch)
                    finally:
                        self._lag.in_hand = {}
            if self._watching is not None and self._watching.done():
                self._watching.result()  # it ends with a bug only
            if batch:
                idle_since = time.monotonic()
            elif consumer.assignment() and time.monotonic() - idle_since > 15:
                await self._expect_nothing_left(consumer)
                idle_since = time.monotonic()

    async def _fetched(self, consumer: Any) -> Batch:
        """What there is to handle. aiokafka holds one answer per partition until it is taken: after a batch
        that took long those are old and short, so what came since is asked for once more (median age when
        handled, at 1,000 records/s and 100 ms a batch: 63 ms where it was 155)."""
        batch: Batch = await consumer.getmany(
            timeout_ms=int(self._idle_seconds * 1000), max_records=self._limit
        )
        missing = self._limit - sum(map(len, batch.values()))
        if batch and missing > 0:
            more: Batch = await consumer.getmany(timeout_ms=TOP_UP_MILLISECONDS, max_records=missing)
            for tp, records in more.items():
                batch.setdefault(tp, []).extend(records)
        return batch

    async def _process(self, consumer: Any, batch: Batch) -> None:
        """Handle and commit one batch; on an outage go back to its start and try again."""
        started = time.monotonic()
        try:
            dead = await self._handle(batch)
            offsets = {tp: records[-1].offset + 1 for tp, records in batch.items()}
            await consumer.commit(offsets)
            await self._handler.committed(offsets)
        except (KafkaError, Outage, *OUTAGES) as error:
            self._outage(error)
            self._back(consumer, batch, fresh=False)
            # What is too much for the time that a transaction has would be so again.
            self._limit = max(1, self._limit // 2)
            await asyncio.sleep(0.3)
            return
        except PartitionStopped as stopped:
            self._stop(consumer, stopped)
            self._back(consumer, batch, fresh=False)
            return
        self._recovered()
        self._limit = min(2 * self._limit, self._max_records)
        count = sum(map(len, batch.values()))
        metrics.BATCH_DURATION.labels(self._stage).observe(time.monotonic() - started)
        metrics.BATCH_RECORDS.labels(self._stage).observe(count)
        self._dead_in_row = self._dead_in_row + dead if dead == count else 0
        if self._dead_in_row >= self._dead_limit:
            raise TooManyDead(f"{self._stage}: {self._dead_in_row} dead letters in a row")

    async def _handle(self, batch: Batch) -> int:
        """The handler's count of dead letters; finds by bisection what the handler can't name."""
        for _ in range(10):
            try:
                return await self._handler.handle(batch)
            except RETRY as error:
                log.info(
                    "transaction is run again", extra={"stage": self._stage, "why": type(error).__name__}
                )
                continue
            except _BAD as error:
                return await self._bisect(batch, error)
        raise Outage(f"{self._stage}: the transaction lost ten times in a row", dependency="postgres")

    async def _bisect(self, batch: Batch, error: Exception) -> int:
        count = sum(map(len, batch.values()))
        if count <= 1:
            for records in batch.values():
                reason = error.reason if isinstance(error, BadRecord) else "refused_by_postgres"
                detail = error.detail if isinstance(error, BadRecord) else type(error).__name__
                await self._handler.refuse(records[0], Dead(reason, detail))
            return count
        first, second = _halves(batch)
        return await self._handle(first) + await self._handle(second)

    def _back(self, consumer: Any, batch: Batch, *, fresh: bool) -> None:
        """Fetch these records again (``fresh``: from where the handler said an assignment starts)."""
        assignment = consumer.assignment()
        for tp, records in batch.items():
            if tp in assignment:
                start = self._starts.get(tp) if fresh else None
                consumer.seek(tp, records[0].offset if start is None else start)

    def _stop(self, consumer: Any, stopped: PartitionStopped) -> None:
        """Fetch no more of that partition until it is assigned anew."""
        tp = stopped.partition
        consumer.pause(tp)
        part = f"{self._part}: {self._unprefixed(tp.topic)}, partition {tp.partition}"
        self._stopped.add(part)
        self._health.red(part, str(stopped))
        metrics.RECORDS.labels(self._stage, "stopped").inc()
        log.error("partition is stopped", extra={"part": part, "why": str(stopped)})

    async def _watch(self, consumer: Any) -> None:
        """Show the lag, whatever the batch in hand waits for, and notice that Kafka does not answer, or that
        it does again."""
        while True:
            await asyncio.sleep(WATCH_SECONDS if self._works else RECOVERY_SECONDS)
            try:
                lags = await self._lag.measure(consumer)
            except Outage as error:
                self._outage(error)
                continue
            if lags and not any(lag for tp, lag in lags.items() if tp not in consumer.paused()):
                self._recovered()

    async def _expect_nothing_left(self, consumer: Any) -> None:
        """A consumer can stick silently after a broker restart (aio-libs/aiokafka#1154): start it anew."""
        partitions = consumer.assignment() - consumer.paused()
        ends = await consumer.end_offsets(partitions)
        for tp in partitions:
            if tp in consumer.assignment() and ends[tp] > await consumer.position(tp):
                records = await consumer.getmany(timeout_ms=2000)
                self._back(consumer, records, fresh=False)
                if not records and ends[tp] > await consumer.position(tp):
                    raise Outage(f"{self._stage}: the consumer is stuck")
                return

    def _outage(self, error: BaseException) -> None:
        now = time.monotonic()
        if isinstance(error, Outage):
            dependency: str = error.dependency
        else:
            dependency = "kafka" if isinstance(error, KafkaError) else "postgres"
        if self._outage_since is not None:
            metrics.OUTAGE.labels(dependency).inc(now - self._outage_since)
        self._outage_since = now
        self._works = False
        reason = str(error) if isinstance(error, Outage) else type(error).__name__
        self._health.red(self._part, f"{dependency}: {reason}")
        log.warning("outage", extra={"stage": self._stage, "dependency": dependency, "why": reason})

    def _recovered(self) -> None:
        self._outage_since = None
        self._works = True
        self._health.green(self._part)

    def _unprefixed(self, topic: str) -> str:
        return topic.removeprefix(self._settings.topic_prefix)

    async def on_revoked(self) -> None:
        """Wait for the batch under way: it may still commit; nothing fetched before counts any more."""
        async with self._busy:
            self._generation += 1
            self._lag.assign(())

    async def on_assigned(self, consumer: Any, partitions: set[TopicPartition]) -> None:
        async with self._busy:
            for part in self._stopped:
                self._health.green(part)
            self._stopped.clear()
            try:
                self._starts = {}
                known = await self._handler.assigned(partitions)
                ends = await consumer.end_offsets(list(known)) if known else {}
                for tp, offset in known.items():
                    if offset > ends[tp]:
                        # A broker that starts may say so for a moment. If it stays so, the topic was created
                        # anew or has lost data: to go on would pass over what comes until that offset.
                        raise Outage(
                            f"{tp.topic}, partition {tp.partition}, ends at {ends[tp]}, though records up to "
                            f"{offset} were handled"
                        )
                    committed = await consumer.committed(tp)
                    self._starts[tp] = offset if committed is None else min(offset, committed)
                    consumer.seek(tp, self._starts[tp])
            except Exception as error:  # aiokafka would swallow it: raised again in the loop
                self._failed = error
            # Only now: what was fetched while the handler was asked is not from where it said.
            self._generation += 1
            self._lag.assign(partitions if self._failed is None else ())


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka swallows what a listener raises; the loop keeps it and raises it itself."""

    def __init__(self, loop: BatchLoop, consumer: Any) -> None:
        self._loop = loop
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._loop.on_revoked()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._loop.on_assigned(self._consumer, assigned)


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """Two batches with the same records, each partition's in order, about equal in size."""
    half = sum(map(len, batch.values())) // 2
    first: Batch = {}
    second: Batch = {}
    for tp, records in batch.items():
        taken = min(half, len(records))
        half -= taken
        if taken:
            first[tp] = records[:taken]
        if taken < len(records):
            second[tp] = records[taken:]
    return first, second
