"""Reads a topic of transitions and says when each expected entry arrived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.bench.processes import BenchError

Entry = tuple[str, str]
"""Segment key, and the person's user id or, lacking one, anonymous id."""


class Arrivals:
    """The entries read so far, with the monotonic time in nanoseconds at which each was first seen."""

    def __init__(self, kafka: str, topic: str, decode: Callable[[bytes], tuple[Entry, bool]]) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=20,
        )
        self._topic = topic
        self._decode = decode
        self._task: asyncio.Task[None] | None = None
        self.seen: dict[Entry, int] = {}
        self.exits: list[Entry] = []
        self.records = 0

    async def __aenter__(self) -> Arrivals:
        await self._consumer.start()
        numbers = self._consumer.partitions_for_topic(self._topic) or await self._partitions()
        self._consumer.assign([TopicPartition(self._topic, number) for number in numbers])
        self._task = asyncio.create_task(self._read())
        return self

    async def _partitions(self) -> set[int]:
        await self._consumer._client.add_topic(self._topic)  # noqa: SLF001 - assign() wants to know them
        found: set[int] = self._consumer.partitions_for_topic(self._topic)
        return found

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
        await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                now = time.monotonic_ns()
                for record in records:
                    self.records += 1
                    entry, member = self._decode(record.value)
                    if member:
                        self.seen.setdefault(entry, now)
                    else:
                        self.exits.append(entry)

    async def all_of(self, expected: Iterable[Entry], seconds: float, check: Callable[[], None]) -> int:
        """Until every expected entry is here: the time at which the last of them came.

        Raises BenchError when that takes longer than `seconds`, or when somebody left, which nobody does in
        this workload.
        """
        wanted = set(expected)
        deadline = time.monotonic() + seconds
        while not wanted <= self.seen.keys():
            check()
            if self._task is not None and self._task.done():
                self._task.result()
            if time.monotonic() > deadline:
                missing = sorted(wanted - self.seen.keys())
                raise BenchError(
                    f"{len(missing)} of {len(wanted)} entries missing after {seconds:.0f} s: {missing[:3]}"
                )
            await asyncio.sleep(0.01)
        if self.exits:
            raise BenchError(f"{len(self.exits)} left a segment that nobody leaves: {self.exits[:3]}")
        return max(self.seen[entry] for entry in wanted)
