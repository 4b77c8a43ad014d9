"""Published transitions to any number of readers, each with a cursor: no gap, no double.

One task follows what the relay has published and hands new rows to the readers that have caught up; a
reader behind reads from Postgres until it has. Rows of a partition are published in the order of their
gapless positions, so a position per partition says exactly what a reader has seen, in whatever order
the partitions commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import NamedTuple

import msgspec

from services.kernel import codec
from services.kernel.events import Transition
from services.kernel.health import Health
from services.kernel.outcome import Outage
from services.kernel.postgres import OUTAGES
from services.segment.domain.cursor import Cursor, write_cursor
from services.segment.domain.presentation import transition_shown
from services.segment.store.reading import Published, Reader

PAGE = 250
"""Positions of each partition that are read at a time. Of all partitions they are handed over at once, and
readers have room for twice as many: one that takes what it is given is never cut off."""
PART = "stream"

log = logging.getLogger(__name__)


class Item(NamedTuple):
    """What a reader gets. ``kind``: transition, reset (the cursor is older than what is kept, the stream
    goes on from now) or heartbeat; ``cursor`` is where the reader stands after it."""

    kind: str
    cursor: str
    data: bytes = b""
    profile: bytes | None = None


class _Reader:
    """A caught-up reader's buffer. ``cut`` once it was full, as the reader is too slow, or at the end."""

    __slots__ = ("cut", "filled", "rows")

    def __init__(self) -> None:
        self.rows: deque[tuple[Published, bytes]] = deque()
        self.filled = asyncio.Event()
        self.cut = False

    def stop(self) -> None:
        self.cut = True
        self.rows.clear()
        self.filled.set()


class Streaming:
    """``buffer``: rows that a slow reader may be behind; ``heartbeat`` and ``sweep`` in seconds."""

    def __init__(
        self,
        reader: Reader,
        health: Health,
        *,
        buffer: int = 5000,
        heartbeat: float = 15,
        sweep: float = 1,
    ) -> None:
        self._store = reader
        self._health = health
        self._buffer = buffer
        self._heartbeat = heartbeat
        self._sweep = sweep
        self._woken = asyncio.Event()
        self._tail: dict[int, int] | None = None
        self._readers: set[_Reader] = set()
        self._closed = False
        health.red(PART, "starting")

    async def run(self) -> None:
        """Follow what is published until cancelled."""
        while True:
            try:
                async with self._store.notified(self._woken.set):
                    while True:
                        self._woken.clear()
                        if await self._advance():
                            continue
                        self._health.green(PART)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(self._sweep):
                                await self._woken.wait()
            except OUTAGES as error:
                self._health.red(PART, f"postgres: {type(error).__name__}")
                log.warning("outage", extra={"part": PART, "why": type(error).__name__})
                await asyncio.sleep(0.5)

    async def _advance(self) -> bool:
        """Hand new rows to the readers; whether there may be more."""
        published = await self._store.published()
        if self._tail is None or not self._readers:
            self._tail = published
            return False
        page = _page(self._tail, published)
        if not page:
            return False
        rows = [(row, _data(row)) for row in await self._store.transitions(self._tail, page, None)]
        self._tail |= page
        for reader in self._readers:
            if len(reader.rows) + len(rows) > self._buffer:
                reader.stop()
            else:
                reader.rows.extend(rows)
                reader.filled.set()
        self._readers = {reader for reader in self._readers if not reader.cut}
        return True

    def close(self) -> None:
        """End all streams; those that begin later end as soon as they have caught up."""
        self._closed = True
        for reader in self._readers:
            reader.stop()

    async def follow(self, cursor: Cursor | None, segment_key: str | None) -> AsyncGenerator[Item, None]:
        """All transitions after the cursor (None: from now on), of one segment or all, then new ones as
        they are published. Begins with a heartbeat; ends when the reader is too slow for its buffer, or when
        the stream is closed.

        Raises Outage when Postgres can't be read; before the first item also where nothing was read yet.
        """
        if self._tail is None:
            raise Outage("the stream is starting", dependency="postgres")
        try:
            published = await self._store.published()
            start = dict(published if cursor is None else cursor)
            if any(position > published.get(partition, 0) for partition, position in start.items()):
                start = published
                yield Item("reset", write_cursor(start))
            yield Item("heartbeat", write_cursor(start))
            async for item in self._history(start, segment_key):
                yield item
        except OUTAGES as error:
            raise Outage("Postgres does not answer", dependency="postgres") from error
        reader = _Reader()
        self._readers.add(reader)  # nothing was awaited since the history had reached the tail
        try:
            while not (reader.cut or self._closed):
                async for item in self._live(reader, start, segment_key):
                    yield item
        finally:
            self._readers.discard(reader)

    async def _history(self, cursor: Cursor, segment_key: str | None) -> AsyncIterator[Item]:
        """From Postgres up to the tail; moves the cursor along."""
        while True:
            tail = self._tail or {}
            page = _page(cursor, tail)
            if not page:
                return
            rows = await self._store.transitions(cursor, page, segment_key)
            kept = await self._store.oldest_kept()
            if any(cursor.get(partition, 0) < position for partition, position in kept.items()):
                cursor |= tail
                yield Item("reset", write_cursor(cursor))
                continue
            for row in rows:
                cursor[row.partition] = row.position
                yield Item("transition", write_cursor(cursor), _data(row), row.profile_id)
            cursor |= page

    async def _live(self, reader: _Reader, cursor: Cursor, segment_key: str | None) -> AsyncIterator[Item]:
        """What stands in the buffer, or a heartbeat after a while without anything."""
        try:
            async with asyncio.timeout(self._heartbeat):
                await reader.filled.wait()
        except TimeoutError:
            yield Item("heartbeat", write_cursor(cursor))
            return
        reader.filled.clear()
        while reader.rows:
            row, data = reader.rows.popleft()
            if row.position > cursor.get(row.partition, 0):
                cursor[row.partition] = row.position
                if segment_key in (None, row.segment_key):
                    yield Item("transition", write_cursor(cursor), data, row.profile_id)


def _page(after: Mapping[int, int], until: Mapping[int, int]) -> dict[int, int]:
    """The next positions to read up to, of the partitions in which there are any."""
    return {
        partition: min(position, after.get(partition, 0) + PAGE)
        for partition, position in until.items()
        if position > after.get(partition, 0)
    }


def _data(row: Published) -> bytes:
    return msgspec.json.encode(transition_shown(codec.decode(Transition, row.value), row.merged_into))
