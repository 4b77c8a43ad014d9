"""Following recent events only while somebody asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.kernel import codec, headers
from services.kernel.clock import SystemClock
from services.kernel.events import DeadLetter
from services.kernel.message import Message
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
        assert (await recent.of("web"))["events"] == []
        await producer.produce("events.collected", 0, [collected([b"k" * 16], event("after"))])
        await eventually(lambda: accepted(recent, 1))
        assert recent.is_following

        async def stopped() -> bool:
            return not recent.is_following

        await eventually(stopped)
        await producer.produce("events.collected", 0, [collected([b"k" * 16], event("again"))])
        await eventually(lambda: accepted(recent, 2))
    await recent.stop()
    assert not recent.is_following


async def test_the_first_question_about_a_source_looks_back(settings: Settings) -> None:
    """What was asked for before goes on, and nothing that both looks see stands there twice."""
    recent = Recent(settings, InForce(policy()), SystemClock())
    letter = DeadLetter("missing_id", "ingest", "$", None, None, None, "app", 1, b'{"messageId":"bad"}')
    sent = collected([b"k" * 16], event("passed"))
    of_app = [(name, b"app" if name == headers.SOURCE else value) for name, value in sent[2] or ()]
    passed = Message(sent[0], sent[1], [*of_app, (headers.PURPOSES, b"analytics")])
    async with producer_of(settings) as producer:
        await recent.of("web")
        await producer.produce("events.permitted", 0, [passed])
        await producer.produce("deadletters", 0, [Message(None, codec.encode(letter), of_app[:2])])
        await producer.produce("events.collected", 0, [collected([b"k" * 16], event("of another source"))])
        shown = {event["message_id"]: event["outcome"] for event in (await recent.of("app"))["events"]}
        assert shown == {"passed": "accepted", "bad": "dead"}
        assert len((await recent.of("app"))["events"]) == 2
        await eventually(lambda: accepted(recent, 1))
    await recent.stop()


async def test_without_kafka_the_question_can_not_be_answered(settings: Settings) -> None:
    recent = Recent(replace(settings, kafka="127.0.0.1:1"), InForce(policy()), SystemClock())
    with pytest.raises(Outage):
        await recent.of("web")
    assert not recent.is_following
