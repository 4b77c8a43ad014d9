"""Topics shown as text."""

from __future__ import annotations

import pytest

from services.kernel import codec, headers
from services.kernel.events import Event, Membership
from services.kernel.identifier import join
from services.kernel.message import Message
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.tail import UnknownTopic, tail

EVENT = Event("m", "web", "track", "Bought", "u", None, None, None, 1, False, 2, 0, b'{"properties":{"n":1}}')


async def test_records_are_decoded_with_readable_keys_and_headers(settings: Settings) -> None:
    producer = BatchProducer(settings, "test")
    await producer.start()
    hash = bytes(range(16))
    await producer.produce(
        "events.collected",
        2,
        [
            Message(
                hash,
                codec.encode(EVENT),
                [
                    (headers.IDENTIFIERS, join([hash, hash])),
                    (headers.SOURCE, b"web"),
                    (headers.STARTED, b"1763900000000000"),
                ],
            ),
            Message(hash, b"nonsense", []),
            Message(hash, codec.encode(Membership("s", "p", 1, 1, 1)), []),
        ],
    )
    await producer.stop()
    shown = [r async for r in tail(settings, "events.collected", from_beginning=True, idle_seconds=1)]
    assert [(r["partition"], r["offset"]) for r in shown] == [(2, 0), (2, 1), (2, 2)]
    assert shown[0]["key"] == hash.hex()
    assert shown[0]["headers"] == {"ids": [hash.hex()] * 2, "source": "web", "started": "1763900000000000"}
    assert shown[0]["value"]["payload"] == {"properties": {"n": 1}}
    assert shown[0]["value"]["name"] == "Bought"
    assert shown[1]["value"] == {"undecodable": "not_avro"}
    assert shown[2]["value"] == {"undecodable": "unknown_schema"}


async def test_without_from_beginning_only_what_comes_is_shown(settings: Settings) -> None:
    producer = BatchProducer(settings, "test")
    await producer.start()
    await producer.produce("events.collected", 0, [Message(b"k", codec.encode(EVENT), [])])
    await producer.stop()
    assert [r async for r in tail(settings, "events.collected", idle_seconds=1)] == []


async def test_an_unknown_topic_is_told_with_those_that_exist(settings: Settings) -> None:
    with pytest.raises(UnknownTopic, match=r"events\.collected"):
        await anext(tail(settings, "events", from_beginning=True))
