"""A gate that sleeps through an opt-out and wakes: what it may still write, and what stops that."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from services.kernel import headers, topics
from services.kernel.identifier import split
from services.kernel.message import Message
from services.kernel.permission import Judge
from services.kernel.policy import load
from services.kernel.settings import ROOT, Settings
from tests.support.gate import (
    DENIED,
    STATE,
    TOPICS,
    collected,
    event,
    everything,
    judged,
    passed,
    producer_of,
    settings_of,
    view_of,
)
from tests.support.policy import InForce

COLLECTED, PERMITTED = "events.collected", "events.permitted"


@pytest.fixture
async def bus(tmp_path: Path, kafka: str, topic_prefix: str) -> AsyncIterator[Settings]:
    """Settings with the gate's topics, of the test's own."""
    settings = settings_of(tmp_path, kafka, topic_prefix)
    await topics.ensure(settings, TOPICS)
    yield settings
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([settings.topic(name) for name in TOPICS])
    await admin.close()


@contextmanager
def gate_process(settings: Settings, *arguments: str) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "tests.support.gate_process"]
    process = subprocess.Popen(
        [*command, str(settings.home), settings.kafka, settings.topic_prefix, *arguments], cwd=ROOT
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - no event tells of another process's state
            await asyncio.sleep(0.05)


async def test_what_a_woken_gate_writes_late_is_stopped_by_judging_again(bus: Settings) -> None:
    person, other = secrets.token_bytes(16), secrets.token_bytes(16)
    before, after, later = event("before"), event("after"), event("later")
    async with producer_of(bus) as producer:
        with gate_process(bus, "pause") as sleeper:
            await producer.produce(COLLECTED, 0, [collected([person, other], before)])
            await until(lambda: sleeper.status() == psutil.STATUS_STOPPED)
            await producer.produce(STATE, None, [Message(person, DENIED)])
            await producer.produce(COLLECTED, 0, [collected([person], after)])
            with gate_process(bus):
                offsets = await judged(bus, seconds=60)
                assert not await everything(bus, PERMITTED)

                sleeper.send_signal(signal.SIGCONT)
                async with asyncio.timeout(30):
                    while not (written := await everything(bus, PERMITTED)):
                        await asyncio.sleep(0.1)
                # It could not know: what it had judged before the opt-out, and nothing that came after it.
                assert [record.value for record in written] == [before]
                # Judged again, with what stands in its headers, it is not let through.
                async with view_of(bus, folder="second") as view:
                    await passed(view)
                    ids = split(headers.value(written[0].headers, headers.IDENTIFIERS) or b"")
                    assert ids == [person, other]
                    policy = load(bus.policy)
                    judge = Judge(InForce(policy))
                    stamp = headers.value(written[0].headers, headers.STAMP)
                    assert judge.judge(view.get_many(ids), stamp, 0, policy.profile_basis(None)).allowed == ()

                # It takes nothing back that the other gate has committed, and both work on.
                await producer.produce(COLLECTED, 0, [collected([other], later)])
                now = await judged(bus, seconds=60)
                assert all(now[tp] >= offset for tp, offset in offsets.items())
    # A record may come twice where the group changed hands; none comes that must not.
    assert {record.value for record in await everything(bus, PERMITTED)} == {before, later}
