"""The view against a real broker: what a barrier promises, and when the view must not be believed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.kernel import topics
from services.kernel.health import Health
from services.kernel.message import Message, partition_of
from services.kernel.outcome import BadRecord, Outage
from services.kernel.permission import project
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.view import View
from services.kernel.view_file import ViewFile
from tests.support.gate import DENIED, STATE, everything, passed, producer_of, settings_of, view_of

PARTITIONS = 8


def plain(value: bytes) -> bytes:
    return value


@pytest.fixture
async def bus(tmp_path: Path, kafka: str, topic_prefix: str) -> AsyncIterator[Settings]:
    """Settings with a topic consent.state of the test's own."""
    settings = settings_of(tmp_path, kafka, topic_prefix)
    await topics.ensure(settings, [STATE])
    yield settings
    await _delete(settings)


@pytest.fixture
async def producer(bus: Settings) -> AsyncIterator[BatchProducer]:
    async with producer_of(bus) as producer:
        yield producer


async def _delete(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    await admin.delete_topics([settings.topic(STATE)])
    await admin.close()


async def _recreate(settings: Settings, configuration: dict[str, str] | None = None) -> None:
    """The topic of that name, empty. Deleting takes the broker a moment."""
    await _delete(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    new = NewTopic(settings.topic(STATE), PARTITIONS, 1, topic_configs=configuration or {})
    async with asyncio.timeout(20):
        while (await admin.create_topics([new])).topic_errors[0][1]:
            await asyncio.sleep(0.05)
    await admin.close()
    await topics.ensure(settings, [STATE])


async def test_a_barrier_shows_what_was_acknowledged_before(bus: Settings, producer: BatchProducer) -> None:
    async with view_of(bus, plain) as view:
        await passed(view)
        for number in range(200):
            key, value = secrets.token_bytes(16), b"%d" % number
            await producer.produce(STATE, None, [Message(key, value)])
            await view.barrier()
            assert view.get_many([key]) == [value]


async def test_the_newest_value_counts_and_a_tombstone_removes(
    bus: Settings, producer: BatchProducer
) -> None:
    async with view_of(bus, plain) as view:
        await passed(view)
        await producer.produce(STATE, None, [Message(b"a", b"1"), Message(b"a", b"2"), Message(b"b", b"1")])
        await view.barrier()
        assert view.get_many([b"a", b"b", b"c"]) == [b"2", b"1", None]
        await producer.produce(STATE, None, [Message(b"b", None)])
        await view.barrier()
        assert view.items() == [(b"a", b"2")]


@pytest.mark.alone
@pytest.mark.parametrize("ending", ["commit", "abort"])
async def test_a_control_record_at_the_end_holds_no_barrier_up(bus: Settings, ending: str) -> None:
    """The relay writes in transactions: each leaves a record behind that no consumer is ever given."""
    writer = AIOKafkaProducer(
        bootstrap_servers=bus.kafka, transactional_id=bus.topic("writer"), enable_idempotence=True
    )
    await writer.start()
    try:
        async with view_of(bus, plain) as view:
            await passed(view)
            waited = []
            for number in range(20):
                await writer.begin_transaction()
                await writer.send_and_wait(bus.topic(STATE), b"%d" % number, b"key")
                await (writer.commit_transaction() if ending == "commit" else writer.abort_transaction())
                started = time.monotonic()
                await view.barrier()
                waited.append(time.monotonic() - started)
                if ending == "commit":
                    assert view.get_many([b"key"]) == [b"%d" % number]
            assert sorted(waited)[len(waited) // 2] < 0.1  # not a poll's 200 ms
        for folder in ("view", "fresh"):
            async with view_of(bus, plain, folder) as later:
                await passed(later)
    finally:
        await writer.stop()


async def test_a_restarted_view_goes_on_where_it_was(bus: Settings, producer: BatchProducer) -> None:
    read: list[bytes] = []

    def project(value: bytes) -> bytes:
        read.append(value)
        return value

    async with view_of(bus, project) as view:
        await producer.produce(STATE, None, [Message(b"%d" % n, b"old") for n in range(100)])
        await passed(view)
    read.clear()
    await producer.produce(STATE, None, [Message(b"7", b"new")])
    async with view_of(bus, project) as view:
        await passed(view)
        assert read == [b"new"]
        assert view.get_many([b"7", b"8"]) == [b"new", b"old"]


async def test_the_file_of_an_older_topic_is_built_anew(bus: Settings, producer: BatchProducer) -> None:
    async with view_of(bus, plain) as view:
        await producer.produce(STATE, None, [Message(b"%d" % n, b"old") for n in range(100)])
        await passed(view)
    await _recreate(bus)
    async with producer_of(bus) as again:
        await again.produce(STATE, None, [Message(b"%d" % n, b"new") for n in range(50, 250)])
    async with view_of(bus, plain) as view:
        with pytest.raises(Outage):
            await view.barrier()
        await passed(view)
        assert view.items() == sorted((b"%d" % n, b"new") for n in range(50, 250))


async def test_a_topic_created_anew_under_a_running_view_closes_it_until_it_is_built(
    bus: Settings, producer: BatchProducer
) -> None:
    async with view_of(bus, plain) as view:
        await producer.produce(STATE, None, [Message(b"%d" % n, b"old") for n in range(100)])
        await passed(view)
        await _recreate(bus)
        async with producer_of(bus) as again:
            # More than before: by its offsets alone the old view could seem to be in time.
            await again.produce(STATE, None, [Message(b"%d" % n, b"new") for n in range(50, 500)])
        with pytest.raises(Outage):
            await view.barrier()
        await passed(view)
        assert view.items() == sorted((b"%d" % n, b"new") for n in range(50, 500))


async def test_a_position_past_the_end_is_built_anew(bus: Settings, producer: BatchProducer) -> None:
    """As after a broker lost the end of its log."""
    await producer.produce(STATE, None, [Message(b"%d" % n, b"kept") for n in range(20)])
    async with view_of(bus, plain) as view:
        await passed(view)
    file = ViewFile(bus.home / "view")
    file.open()
    file.write([(b"lost", b"value")], {partition_of(b"lost", PARTITIONS): 10_000})
    file.close()
    async with view_of(bus, plain) as view:
        await passed(view)
        assert view.items() == sorted((b"%d" % n, b"kept") for n in range(20))


async def test_the_gaps_of_compaction_hold_no_barrier_up(bus: Settings) -> None:
    quick = {"cleanup.policy": "compact", "segment.ms": "100", "max.compaction.lag.ms": "100",
             "min.cleanable.dirty.ratio": "0.01"}  # fmt: skip
    await _recreate(bus, quick)
    async with producer_of(bus) as producer, view_of(bus, plain, "early") as early:
        written = 0
        async with asyncio.timeout(90):
            while len(await everything(bus, STATE)) > written - 50:
                # Records of one key, in many segments: the cleaner leaves the last of each.
                for number in range(10):
                    await producer.produce(STATE, 0, [Message(b"key", b"%d" % (written + number))])
                written += 10
                await asyncio.sleep(0.2)  # a segment closes by age only
        async with view_of(bus, plain, "late") as late:
            for view in (early, late):
                await passed(view)
                assert view.get_many([b"key"]) == [b"%d" % (written - 1)]


async def test_processes_that_share_a_folder_do_not_share_a_file(
    bus: Settings, producer: BatchProducer
) -> None:
    async with view_of(bus, plain) as one, view_of(bus, plain) as other:
        for view in (one, other):
            await passed(view)
        await producer.produce(STATE, None, [Message(b"key", b"value")])
        for view in (one, other):
            await view.barrier()
            assert view.get_many([b"key"]) == [b"value"]
    assert {path.name for path in (bus.home / "view").iterdir() if path.is_dir()} == {"0", "1"}


async def test_a_broken_file_is_built_anew(bus: Settings, producer: BatchProducer) -> None:
    await producer.produce(STATE, None, [Message(b"key", b"value")])
    async with view_of(bus, plain) as view:
        await passed(view)
    (bus.home / "view" / "0" / "data.mdb").write_bytes(b"no such thing" * 1000)
    async with view_of(bus, plain) as view:
        await passed(view)
        assert view.get_many([b"key"]) == [b"value"]


async def test_a_state_that_can_not_be_read_stops_the_view(bus: Settings, producer: BatchProducer) -> None:
    """Passing over it could let through what a person opted out of."""
    await producer.produce(STATE, 3, [Message(b"good", DENIED), Message(b"bad", b"nonsense")])
    async with view_of(bus, project) as view:
        with pytest.raises(BadRecord, match="partition 3 offset 1"):
            await asyncio.wait_for(asyncio.shield(view.task), 20)
        with pytest.raises(Outage):
            await view.barrier()


async def test_without_a_broker_barriers_fail_and_the_view_goes_on_trying(bus: Settings) -> None:
    nowhere = replace(bus, kafka="127.0.0.1:1")
    health = Health("test")
    view = View(nowhere, STATE, bus.home / "view", plain, health)
    await view.start()
    try:
        async with asyncio.timeout(20):
            while health.reasons() != {"view consent.state": "KafkaConnectionError"}:
                await asyncio.sleep(0.02)
        with pytest.raises(Outage):
            await view.barrier()
        assert not view.task.done()
    finally:
        await view.stop()
