"""The demo's readers on a real broker: nothing is missed unseen, and quiet means that all was read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.demo import topics
from deploy.demo.topics import NotQuiet, Quiet, Reader, living_keys
from services.kernel.settings import Settings
from tests.support import stack


@pytest.fixture
async def settings(tmp_path: Path, kafka: str, topic_prefix: str) -> AsyncIterator[Settings]:
    """Topics of the test's own; Postgres plays no part here."""
    settings = stack.settings_for(tmp_path, kafka, stack.Postgres("", 0, "", "", ""), topic_prefix)
    async with stack.topics_of(settings):
        yield settings


async def produce(settings: Settings, topic: str, values: list[bytes], transaction: str = "") -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, transactional_id=transaction or None)
    await producer.start()
    try:
        if transaction:
            await producer.begin_transaction()
        for value in values:
            await producer.send_and_wait(settings.topic(topic), value, partition=0)
        if transaction:
            await producer.commit_transaction()
    finally:
        await producer.stop()


async def test_a_reader_has_what_came_after_it_started(settings: Settings) -> None:
    await produce(settings, "deadletters", [b"before"])
    async with Reader(settings, ("deadletters", "segments.transitions")) as reader:
        await produce(settings, "deadletters", [b"1", b"2"])
        await produce(settings, "segments.transitions", [b"3", b"4"], settings.topic_prefix)
        await reader.caught_up()
        assert [record.value for record in reader.records["deadletters"]] == [b"1", b"2"]
        assert await reader.grown("deadletters") == 2
        assert [record.value for record in reader.records["segments.transitions"]] == [b"3", b"4"]


async def test_of_a_compacted_topic_the_keys_that_have_a_value_count(settings: Settings) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None), (b"c", b"1")):
        await producer.send_and_wait(settings.topic("profiles.state"), value, key=key)
    await producer.stop()
    assert await living_keys(settings, "profiles.state") == 2


async def test_it_is_not_quiet_while_a_group_is_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "STABLE_SECONDS", 0.2)
    await produce(settings, "events.permitted", [b"1", b"2", b"3"])
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, group_id=f"{settings.topic_prefix}profile", enable_auto_commit=False
    )
    await consumer.start()
    partition = TopicPartition(settings.topic("events.permitted"), 0)
    consumer.assign([partition])
    await consumer.commit({partition: 1})
    waiting = asyncio.create_task(Quiet(settings).reached())
    assert await asyncio.wait({waiting}, timeout=1) == (set(), {waiting})
    await consumer.commit({partition: 3})
    await asyncio.wait_for(waiting, 60)
    await consumer.commit({partition: 1})
    monkeypatch.setattr(topics, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(NotQuiet, match=r"profile 2 behind in .*events\.permitted"):
        await Quiet(settings).reached()
    await consumer.stop()
