"""The gate judges by what an event is for and by where its person is, and takes a changed policy up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.kernel import codec, headers
from services.kernel.events import ConsentState, Event, Grant
from services.kernel.message import Message
from services.kernel.permission import FOREVER
from services.kernel.settings import Settings
from tests.support import stack
from tests.support.gate import (
    STATE,
    TOPICS,
    collected,
    event,
    everything,
    gate_of,
    judged,
    producer_of,
    settings_of,
)
from tests.support.outside import eventually
from tests.support.policy import OPT_OUT

COLLECTED, PERMITTED = "events.collected", "events.permitted"
TEXT = OPT_OUT.read_text().replace('{"*": opt_out}', "{DE: opt_in, US: opt_out, US-CA: notice_only}")
COUNTED = """
catalog:
  events:
    Counted: {purposes: [analytics], why: {en: To count}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT + COUNTED)
    return path


@pytest.fixture
async def bus(tmp_path: Path, kafka: str, topic_prefix: str, file: Path) -> AsyncIterator[Settings]:
    settings = replace(settings_of(tmp_path, kafka, topic_prefix), policy=file)
    async with stack.topics_of(settings, TOPICS):
        yield settings


def said(number: int, place: str | None, name: str | None = None) -> Message:
    """An event of a person of its own as ingest writes it."""
    message = collected([bytes([number]) * 16], event(f"m-{number}"))
    named = [*message.headers]
    if place is not None:
        named.append((headers.PLACE, place.encode()))
    if name is not None:
        named.append((headers.EVENT, name.encode()))
    return message._replace(headers=named)


async def permitted(bus: Settings) -> dict[str, str]:
    """Allowed purposes by message id."""
    return {
        codec.decode(Event, record.value).message_id: (
            headers.value(record.headers, headers.PURPOSES) or b""
        ).decode()
        for record in await everything(bus, PERMITTED)
    }


async def test_a_person_who_has_not_answered_has_the_default_of_their_place(bus: Settings) -> None:
    every = "analytics,marketing,personalization"
    places = ["DE", "US", "US-CA", "US-NY", "FR", None, "ZZ", "nonsense"]
    async with producer_of(bus) as producer, gate_of(bus):
        await producer.produce(COLLECTED, 0, [said(number, place) for number, place in enumerate(places)])
        await judged(bus)
    assert await permitted(bus) == {"m-1": every, "m-2": every, "m-3": every}


async def test_an_answer_counts_wherever_the_person_is(bus: Settings) -> None:
    granted = codec.encode(ConsentState(1, [], [Grant("marketing", FOREVER)], False, 0))
    denied = codec.encode(ConsentState(1, ["marketing"], [], False, 0))
    async with producer_of(bus) as producer, gate_of(bus):
        states = [Message(bytes([0]) * 16, granted), Message(bytes([1]) * 16, denied)]
        await producer.produce(STATE, None, states)
        await producer.produce(COLLECTED, 0, [said(0, "DE"), said(1, "US")])
        await judged(bus)
    assert await permitted(bus) == {"m-0": "marketing", "m-1": "analytics,personalization"}


async def test_an_event_passes_with_what_it_is_for_and_is_dropped_where_none_of_that_is_allowed(
    bus: Settings,
) -> None:
    denied = codec.encode(ConsentState(1, ["analytics"], [], False, 0))
    async with producer_of(bus) as producer, gate_of(bus):
        await producer.produce(STATE, None, [Message(bytes([1]) * 16, denied)])
        batch = [said(0, "US", "Counted"), said(1, "US", "Counted"), said(2, "DE", "Counted"), said(1, "US")]
        await producer.produce(COLLECTED, 0, batch)
        await judged(bus)
    assert await permitted(bus) == {"m-0": "analytics", "m-1": "marketing,personalization"}


async def test_a_changed_policy_judges_what_comes_after_it(bus: Settings, file: Path) -> None:
    async with producer_of(bus) as producer, gate_of(bus):
        await producer.produce(COLLECTED, 0, [said(0, "US", "Counted"), said(1, "DE", "Counted")])
        await judged(bus)
        assert await permitted(bus) == {"m-0": "analytics"}
        file.write_text(TEXT.replace("DE: opt_in, US: opt_out", "DE: opt_out, US: opt_in"))  # noqa: ASYNC240

        async def turned() -> bool:
            await producer.produce(COLLECTED, 0, [said(2, "DE", "Counted"), said(3, "US", "Counted")])
            await judged(bus)
            return "m-2" in await permitted(bus)

        await eventually(turned)
        before = len(await everything(bus, PERMITTED))
        await producer.produce(COLLECTED, 0, [said(4, "DE", "Counted"), said(5, "US", "Counted")])
        await judged(bus)
    found = await permitted(bus)
    assert len(await everything(bus, PERMITTED)) == before + 1
    assert found["m-4"] == "analytics,marketing,personalization" and "m-5" not in found
