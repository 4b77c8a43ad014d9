"""Following recent events only while somebody asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.kernel.clock import SystemClock
from services.kernel.outcome import Outage
from services.kernel.recent.following import Recent
from services.kernel.settings import Settings
from tests.support.gate import collected, event, producer_of
from tests.support.outside import eventually
from tests.support.policy import InForce, policy


async def accepted(recent: Recent, count: int) -> bool:
    return len((await recent.of("web"))["events"]) == count


async def test_it_begins_with_the_first_question_and_ends_without_more(settings: Settings) -> None:
    recent = Recent(settings, InForce(policy()), SystemClock(), idle_seconds=1)
    assert not recent.is_following
    async with producer_of(settings) as producer:
        await producer.produce("events.collected", 0, [collected([b"k" * 16], event("before"))])
        assert (await recent.of("web"))["events"] == []
        await producer.produce("events.collected", 0, [collected([b"k" * 16], event("after"))])
        await eventually(lambda: accepted(recent, 1))
        assert recent.is_following

        async def stopped() -> bool:
            return not recent.is_following

        await eventually(stopped)
        assert (await recent.of("web"))["events"] == []
        await producer.produce("events.collected", 0, [collected([b"k" * 16], event("again"))])
        await eventually(lambda: accepted(recent, 1))
    await recent.stop()
    assert not recent.is_following


async def test_without_kafka_the_question_can_not_be_answered(settings: Settings) -> None:
    recent = Recent(replace(settings, kafka="127.0.0.1:1"), InForce(policy()), SystemClock())
    with pytest.raises(Outage):
        await recent.of("web")
    assert not recent.is_following
