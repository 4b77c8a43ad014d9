"""topics.ensure against a broker: creates what is missing, repeats harmlessly, refuses another shape."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.kernel import topics
from services.kernel.outcome import Outage
from services.kernel.settings import Settings
from tests.support.ports import free_port


async def test_repeating_creates_nothing(settings: Settings) -> None:
    assert await topics.ensure(settings) == []


async def test_processes_that_start_at_once_share_the_work(settings: Settings) -> None:
    fresh = under_another_prefix(settings, "at-once.")
    created = await asyncio.gather(
        topics.ensure(fresh, ["deadletters"]), topics.ensure(fresh, ["deadletters"])
    )
    await delete(fresh, "deadletters")
    assert sorted(map(len, created)) == [0, 1]


async def test_a_topic_of_another_shape_is_refused_by_name(settings: Settings) -> None:
    fresh = under_another_prefix(settings, "other-shape.")
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(fresh.topic("consent.state"), 3, 1)])
    await admin.close()
    with pytest.raises(topics.TopicMismatch, match=r"other-shape\.consent\.state: 3 partitions, expected 8"):
        await topics.ensure(fresh, ["consent.state"])
    await delete(fresh, "consent.state")


async def test_no_answer_is_an_outage(settings: Settings) -> None:
    nowhere = replace(settings, kafka=f"127.0.0.1:{free_port()}")
    with pytest.raises(Outage, match=nowhere.kafka):
        await topics.ensure(nowhere)


def under_another_prefix(settings: Settings, suffix: str) -> Settings:
    return replace(settings, topic_prefix=settings.topic_prefix + suffix)


async def delete(settings: Settings, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    await admin.delete_topics([settings.topic(name)])
    await admin.close()
