"""The stream: every published transition once, in order per profile, whatever the order of commits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from services.kernel.clock import DAY
from services.kernel.health import Health
from services.kernel.postgres import Pool
from services.kernel.settings import Settings
from services.segment.domain.cursor import read_cursor
from services.segment.flow.judging import _read
from services.segment.flow.publishing import Transitions
from services.segment.flow.streaming import Item, Streaming
from services.segment.store.statements import PUBLISHED
from tests.integration.segment.world import BERLIN, World, golden, place, profile

Seen = tuple[str, int, bool]


@asynccontextmanager
async def streaming(world: World, **options: Any) -> AsyncIterator[Streaming]:
    health = Health("segment")
    stream = Streaming(world.reader, health, **options)
    task = asyncio.create_task(stream.run())
    try:
        async with asyncio.timeout(10):
            while not health.ready:
                await asyncio.sleep(0.01)
        yield stream
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def stream(world: World) -> AsyncIterator[Streaming]:
    """A stream that looks often, so that nothing here depends on a notification."""
    async with streaming(world, sweep=0.02, heartbeat=0.1) as stream:
        yield stream


def seen(item: Item) -> Seen:
    shown = msgspec.json.decode(item.data)
    return shown["profile_id"], shown["sequence"], shown["member"]


async def read(
    stream: Streaming, cursor: str | None, enough: Callable[[list[Seen]], bool], segment: str | None = None
) -> tuple[list[Seen], str]:
    """Transitions until there are enough, and the cursor after them."""
    found: list[Seen] = []
    place = cursor or ""
    async with asyncio.timeout(20):
        items = stream.follow(read_cursor(cursor) if cursor else None, segment)
        async for item in items:
            assert item.kind != "reset"
            place = item.cursor
            if item.kind == "transition":
                found.append(seen(item))
            if enough(found):
                break
        await items.aclose()
    return found, place


def people_of(partition: int, number: int) -> list[str]:
    names = (f"person {i}" for i in range(10_000))
    return [name for name in names if place(profile(name)) == partition][:number]


async def test_a_row_that_commits_late_is_not_lost(
    world: World, alone: Settings, pool: Pool, stream: Streaming
) -> None:
    """One partition's transaction is open while the other's commits and is read; both readers, the one
    that was there and the one that resumes after, get the late row."""
    (early,), (late,) = people_of(1, 1), people_of(2, 1)
    await world.define("berlin", BERLIN)
    there = asyncio.create_task(read(stream, "0", lambda found: len(found) == 2))
    async with world.writer.begin([2]) as writing:
        arrivals = world.batch(golden(late, city="Berlin"))
        await world.judging._arrive(writing, [_arrival(arrivals)])
        await writing.advance({2: 1})
        await world.feed(golden(early, city="Berlin"))
        await world.publish(1)
        first, cursor = await read(stream, "0", lambda found: len(found) == 1)
        assert first == [(profile(early), 1, True)]
    await world.publish(2)
    second, _ = await read(stream, cursor, lambda found: len(found) == 1)
    assert second == [(profile(late), 1, True)]
    assert (await there)[0] == first + second


def _arrival(batch: Any) -> Any:
    ((record,),) = batch.values()
    return _read(record)


async def test_what_is_not_published_is_not_served(world: World, stream: Streaming) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", city="Berlin"))
    items = stream.follow(read_cursor("0"), None)
    kinds = [(await anext(items)).kind for _ in range(3)]
    assert kinds == ["heartbeat"] * 3
    await world.publish()
    assert (await anext(items)).kind == "transition"
    await items.aclose()


@pytest.mark.parametrize("seed", range(3))
async def test_readers_that_come_and_go_get_everything_once(
    world: World, stream: Streaming, seed: int
) -> None:
    """Readers stop at random places and resume, while batches commit and partitions are published in any
    order; the segment's own stream holds the segment's share of it."""
    chance = random.Random(seed)  # noqa: S311
    await world.define("berlin", BERLIN)
    await world.define("rome", {"trait": "city", "op": "eq", "value": "Rome"})
    names = [f"person {i}" for i in range(40)]
    done = asyncio.Event()
    total = 0

    async def write() -> None:
        nonlocal total
        for version in range(1, 16):
            chosen = chance.sample(names, 15)
            await world.feed(
                *(golden(name, version, city=chance.choice(["Berlin", "Rome", "Oslo"])) for name in chosen)
            )
            await world.publish(*chance.sample(range(8), 4))
            await asyncio.sleep(chance.random() / 50)
        await world.publish()
        total = await world.pool.fetchval("SELECT count(*) FROM transitions")
        done.set()

    async def reader(own: random.Random, segment: str | None) -> list[Seen]:
        found: list[Seen] = []
        cursor = "0"
        while not done.is_set() or not await reached(cursor):
            stop = own.randrange(1, 25)
            idle = asyncio.get_running_loop().time() + 0.3
            more, cursor = await read(
                stream,
                cursor,
                lambda part: len(part) >= stop or asyncio.get_running_loop().time() > idle,  # noqa: B023
                segment,
            )
            found += more
        return found

    async def reached(cursor: str) -> bool:
        published = await world.reader.published()
        return all(read_cursor(cursor).get(p, 0) >= position for p, position in published.items())

    writing = asyncio.create_task(write())
    everything, again, berlin = await asyncio.gather(
        reader(random.Random(seed + 1), None),  # noqa: S311
        reader(random.Random(seed + 2), None),  # noqa: S311
        reader(random.Random(seed + 3), "berlin"),  # noqa: S311
    )
    await writing
    transitions = await world.transitions()
    assert len(everything) == len(again) == total == len(transitions)
    for found, wanted in [
        (everything, transitions),
        (again, transitions),
        (berlin, [item for item in transitions if item.segment_key == "berlin"]),
    ]:
        assert sorted(found) == sorted((item.profile_id, item.sequence, item.member) for item in wanted)
    for name in names:
        sequences = [sequence for profile_id, sequence, _ in berlin if profile_id == profile(name)]
        assert sequences == sorted(sequences)


async def test_a_snapshot_and_the_stream_after_it_have_no_gap_and_no_double(
    world: World, stream: Streaming
) -> None:
    """Pages are read while people come and go; each transition streamed on changes the folded set."""
    chance = random.Random(5)  # noqa: S311
    await world.define("berlin", BERLIN)
    names = [f"person {i}" for i in range(100)]
    version = 0

    async def change() -> None:
        nonlocal version
        version += 1
        chosen = chance.sample(names, 30)
        await world.feed(*(golden(n, version, city=chance.choice(["Berlin", "Rome"])) for n in chosen))
        if chance.random() < 0.7:
            await world.publish(*chance.sample(range(8), 5))

    for _ in range(5):
        await change()
    snapshot = await world.reader.published()
    inside: dict[str, int] = {}
    last = b""
    while members := await world.reader.members("berlin", snapshot, last, 7):
        for found in members:
            assert found.profile_id.hex() not in inside
            inside[found.profile_id.hex()] = found.sequence
        last = members[-1].profile_id
        await change()
    await world.publish()
    end = await world.reader.published()

    cursor = ".".join(str(snapshot[p]) for p in sorted(snapshot))
    items = stream.follow(read_cursor(cursor), "berlin")
    async with asyncio.timeout(10):
        async for item in items:
            if item.kind == "transition":
                profile_id, sequence, member = seen(item)
                if member:
                    assert profile_id not in inside
                    inside[profile_id] = sequence
                else:
                    assert inside.pop(profile_id) == sequence - 1
            elif read_cursor(item.cursor) == end:
                break
    await items.aclose()
    assert set(inside) == await world.members("berlin")


async def test_a_cursor_older_than_what_is_kept_is_reset(world: World, stream: Streaming) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(*(golden(name, city="Berlin") for name in ("ada", "bob")))
    await world.publish()
    before = stream.follow(read_cursor("0"), None)
    while (await anext(before)).kind != "transition":  # so the stream has seen what was published
        pass
    await before.aclose()
    world.clock.advance(31 * DAY)
    await world.feed(golden("ada", 2, city="Rome"))
    assert await world.reader.forget(world.clock.now() - 30 * DAY, 1) == 2
    items = stream.follow(read_cursor("0"), None)
    kinds = [(await anext(items)).kind for _ in range(2)]
    assert kinds == ["heartbeat", "reset"]
    await world.publish()
    async for item in items:
        if item.kind == "transition":
            assert seen(item) == (profile("ada"), 2, False)
            break
    await items.aclose()


async def test_what_is_not_yet_published_is_never_forgotten(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", city="Berlin"))
    world.clock.advance(31 * DAY)
    assert await world.reader.forget(world.clock.now(), 10) == 0


async def test_a_cursor_from_the_future_is_reset(world: World, stream: Streaming) -> None:
    items = stream.follow(read_cursor("99"), None)
    assert (await anext(items)).kind == "reset"
    await items.aclose()


async def test_a_slow_reader_is_cut_off_and_can_resume(world: World) -> None:
    await world.define("berlin", BERLIN)
    async with streaming(world, sweep=0.02, heartbeat=0.05, buffer=10) as stream:
        items = stream.follow(None, None)
        start = await anext(items)
        await anext(items)  # caught up: it has a buffer now
        names = [f"person {i}" for i in range(30)]
        for name in names:
            await world.feed(golden(name, city="Berlin"))
            await world.publish()
        async with asyncio.timeout(10):
            while stream._readers:
                await asyncio.sleep(0.01)
        assert [item async for item in items] == []
        found, _ = await read(stream, start.cursor, lambda found: len(found) == 30)
        assert {profile_id for profile_id, _, _ in found} == {profile(name) for name in names}


async def test_a_burst_over_all_partitions_cuts_off_nobody_who_reads_on(world: World) -> None:
    """As when time or a new definition moves many at once: more than a buffer holds."""
    await world.define("berlin", BERLIN)
    async with streaming(world, sweep=0.05) as stream:
        items = stream.follow(None, None)
        await anext(items)
        waiting: asyncio.Task[Item] = asyncio.create_task(anext(items))
        async with asyncio.timeout(60):
            while not stream._readers:
                await asyncio.sleep(0.01)
        count = 2 * stream._buffer
        for start in range(0, count, 1_000):
            await world.feed(*(golden(f"person {n}", city="Berlin") for n in range(start, start + 1_000)))
        await world.publish()
        found = {seen(await waiting)}
        async with asyncio.timeout(60):
            async for item in items:
                found.add(seen(item))
                if len(found) == count:
                    break
        assert len(found) == count
        await items.aclose()


async def test_published_rows_come_by_notification(world: World) -> None:
    """With a sweep of an hour only a notification can bring them."""
    await world.define("berlin", BERLIN)
    async with streaming(world, sweep=3600, heartbeat=3600) as stream:
        items = stream.follow(None, None)
        await anext(items)
        waiting: asyncio.Task[Item] = asyncio.create_task(anext(items))
        async with asyncio.timeout(10):
            while not stream._readers:
                await asyncio.sleep(0.01)
        await world.feed(golden("ada", city="Berlin"))
        source = Transitions()
        async with world.pool.acquire() as connection, connection.transaction():
            rows = await source.read(connection)
            assert rows is not None
            await source.published(connection, rows)
        async with asyncio.timeout(10):
            assert seen(await waiting) == (profile("ada"), 1, True)
        await items.aclose()


async def test_a_reader_ahead_of_this_process_gets_nothing_twice(world: World) -> None:
    """Its cursor came from another process, whose stream has already seen more than this one's."""
    (old,), (new,) = people_of(1, 1), people_of(2, 1)  # rows come in the order of partitions
    await world.define("berlin", BERLIN)
    async with streaming(world, sweep=3600, heartbeat=3600) as stream:
        await world.feed(golden(old, city="Berlin"))
        await world.publish()
        items = stream.follow(await world.reader.published(), None)
        assert (await anext(items)).kind == "heartbeat"
        waiting: asyncio.Task[Item] = asyncio.create_task(anext(items))
        async with asyncio.timeout(10):
            while not stream._readers:
                await asyncio.sleep(0.01)
        await world.feed(golden(new, city="Berlin"))
        await world.publish()
        await world.pool.execute("SELECT pg_notify($1, '')", PUBLISHED)
        async with asyncio.timeout(10):
            assert seen(await waiting) == (profile(new), 1, True)
        await items.aclose()
