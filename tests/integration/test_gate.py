"""The gate against a real broker: what passes, what is told, what is put aside, what stays on no disk."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from prometheus_client import REGISTRY

from services.consent.flow.gate import GROUP
from services.consent.flow.truncation import Truncation
from services.kernel import codec, headers, topics
from services.kernel.events import ConsentSignal, ConsentState, DeadLetter, Event
from services.kernel.identifier import ANONYMOUS_ID, USER_ID
from services.kernel.message import Message, add, partition_of
from services.kernel.permission import Stamp
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from tests.support.gate import (
    DENIED,
    SOURCE,
    STATE,
    TOPICS,
    collected,
    event,
    everything,
    gate_of,
    judged,
    producer_of,
    reader_of,
    settings_of,
)

COLLECTED, PERMITTED, SIGNALS = "events.collected", "events.permitted", "consent.signals"
PARTITIONS = 8
MARKETING_DENIED = codec.encode(ConsentState(1, ["marketing"], [], False, 0))


@pytest.fixture
async def bus(tmp_path: Path, kafka: str, topic_prefix: str) -> AsyncIterator[Settings]:
    """Settings with the gate's topics, of the test's own."""
    settings = settings_of(tmp_path, kafka, topic_prefix)
    await topics.ensure(settings, TOPICS)
    yield settings
    async with _admin(settings) as admin:
        await admin.delete_topics([settings.topic(name) for name in TOPICS])


@pytest.fixture
async def producer(bus: Settings) -> AsyncIterator[BatchProducer]:
    async with producer_of(bus) as producer:
        yield producer


def numbered(number: int) -> bytes:
    return event(f"m-{number}", b"%d" % number)


@pytest.mark.parametrize("seed", range(3))
async def test_an_acknowledged_denial_holds_for_every_event_after_it(
    bus: Settings, producer: BatchProducer, seed: int
) -> None:
    """Promise 2: people opt out at any time while events of theirs and of others stream through."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    people = [draw.randbytes(16) for _ in range(300)]
    denied: list[bytes] = []
    must_pass: set[bytes] = set()
    must_not: set[bytes] = set()
    number = 0
    async with gate_of(bus):
        while len(denied) < 200:
            chosen = [draw.choice(people) for _ in range(draw.randrange(5))]
            if draw.random() < 0.5:
                out = draw.choice([person for person in people if person not in denied])
                await producer.produce(STATE, None, [Message(out, DENIED)])
                denied.append(out)
                chosen.insert(0, out)
            messages = []
            for person in chosen:
                number += 1
                value = numbered(number)
                ids = [person, draw.choice(people)] if draw.random() < 0.5 else [person]
                messages.append(collected(ids, value))
                (must_not if set(ids) & set(denied) else must_pass).add(value)
            await producer.produce(COLLECTED, None, messages)
        await judged(bus)
    passed = {record.value for record in await everything(bus, PERMITTED)}
    assert not passed & must_not
    assert passed <= must_pass
    assert passed  # all but those that waited when the denial came: how many depends on the machine


async def test_events_go_on_as_they_were_to_the_partition_of_the_same_number(
    bus: Settings, producer: BatchProducer
) -> None:
    sent = [collected([secrets.token_bytes(16)], numbered(n), Stamp(gpc=n % 2 == 0)) for n in range(500)]
    async with gate_of(bus):
        places = await producer.produce(COLLECTED, None, sent)
        await judged(bus)
    found = {record.key: record for record in await everything(bus, PERMITTED)}
    assert len(found) == 500
    for message, (partition, _) in zip(sent, places, strict=True):
        record = found[message.key]
        assert (record.partition, record.value) == (partition, message.value)
        assert list(record.headers[:-1]) == list(message.headers)
        name, purposes = record.headers[-1]
        gpc = headers.value(message.headers, headers.STAMP) == Stamp(gpc=True).to_header()
        expected = b"analytics" if gpc else b"analytics,marketing,personalization"
        assert (name, purposes) == (headers.PURPOSES, expected)


async def test_order_holds_within_a_partition(bus: Settings, producer: BatchProducer) -> None:
    key = secrets.token_bytes(16)
    async with gate_of(bus):
        for start in range(0, 2000, 100):
            batch = [collected([key], numbered(n)) for n in range(start, start + 100)]
            await producer.produce(COLLECTED, None, batch)
        await judged(bus)
    values = [record.value for record in await everything(bus, PERMITTED)]
    assert values == [numbered(n) for n in range(2000)]


async def test_a_link_seen_on_a_dropped_event_is_told_without_its_payload(
    bus: Settings, producer: BatchProducer
) -> None:
    denied, other = secrets.token_bytes(16), secrets.token_bytes(16)
    await producer.produce(STATE, None, [Message(denied, DENIED)])
    async with gate_of(bus):
        await producer.produce(COLLECTED, None, [collected([other, denied], event("m-1", b"secret"))])
        await judged(bus)
        [record] = await everything(bus, SIGNALS)
    signal = codec.decode(ConsentSignal, record.value)
    assert record.key == other
    assert (signal.kind, signal.identifiers) == ("link", [other, denied])
    assert (signal.source, signal.message_id) == (SOURCE, "m-1")
    assert b"secret" not in record.value
    assert not await everything(bus, PERMITTED)


async def test_gpc_is_told_and_limits_the_event_that_bears_it(bus: Settings, producer: BatchProducer) -> None:
    new, known = secrets.token_bytes(16), secrets.token_bytes(16)
    on_record = codec.encode(ConsentState(1, [], [], True, 0))
    await producer.produce(STATE, None, [Message(known, on_record)])
    async with gate_of(bus):
        gpc = Stamp(gpc=True)
        sent = [
            collected([person], event(name), gpc) for person, name in ((new, "m-new"), (known, "m-known"))
        ]
        await producer.produce(COLLECTED, None, sent)
        await judged(bus)
    signals = [codec.decode(ConsentSignal, record.value) for record in await everything(bus, SIGNALS)]
    assert [(signal.kind, signal.identifiers, signal.message_id) for signal in signals] == [
        ("gpc", [new], "m-new")
    ]
    purposes = {record.key: record.headers[-1][1] for record in await everything(bus, PERMITTED)}
    assert purposes == {new: b"analytics", known: b"analytics,marketing,personalization"}


async def test_what_an_event_says_of_consent_limits_that_event_alone(
    bus: Settings, producer: BatchProducer
) -> None:
    """Stamps as ingest makes them of Segment's categories and of RudderStack's consent management."""
    stamps = {
        "m-denied": Stamp(denied=("marketing",)),
        "m-allowed": Stamp(("analytics", "marketing")),
        "m-both": Stamp(("analytics", "marketing"), ("marketing", "ads")),
        "m-all": Stamp(denied=("analytics", "marketing", "personalization")),
        "m-none": None,
    }
    person = secrets.token_bytes(16)
    async with gate_of(bus):
        sent = [collected([person], event(name), stamp) for name, stamp in stamps.items()]
        await producer.produce(COLLECTED, None, sent)
        await judged(bus)
    permitted = await everything(bus, PERMITTED)
    assert {
        codec.decode(Event, record.value).message_id: headers.value(record.headers, headers.PURPOSES)
        for record in permitted
    } == {
        "m-denied": b"analytics,personalization",
        "m-allowed": b"analytics,marketing",
        "m-both": b"analytics",
        "m-none": b"analytics,marketing,personalization",
    }
    assert not await everything(bus, SIGNALS)


async def test_what_a_preference_event_chose_is_told_as_far_as_its_key_may_grant(
    bus: Settings, producer: BatchProducer
) -> None:
    hash_ = bus.hasher()
    user, device = hash_(USER_ID, "u"), hash_(ANONYMOUS_ID, "a")

    def chosen(message_id: str, right: bytes | None, payload: bytes, *more: tuple[str, bytes]) -> Message:
        seen = Event(message_id, SOURCE, "track", "C", "u", "a", None, None, 1, False, 1, 0, payload)
        key, value, found = collected([user, device], codec.encode(seen))
        assert found is not None
        header = [] if right is None else [(headers.PREFERENCE, right)]
        return Message(key, value, [*found, *header, *more])

    said = b'{"context":{"consent":{"categoryPreferences":{"marketing":false,"ads":true,"analytics":true}}}}'
    none = b'{"context":{"consent":{"categoryPreferences":{}}}}'
    async with gate_of(bus):
        messages = [
            chosen("public", headers.WRITE, said),
            chosen("server", headers.SERVER, said),
            chosen("no preference event", None, said),
            chosen("test", headers.SERVER, said, (headers.TEST, b"1")),
            chosen("nothing", headers.SERVER, none),
            chosen("unreadable", headers.SERVER, b'{"context":{"consent":7}}'),
        ]
        await producer.produce(COLLECTED, 0, messages)
        await judged(bus)
    signals = [codec.decode(ConsentSignal, record.value) for record in await everything(bus, SIGNALS)]
    assert [(s.message_id, s.kind, s.identifiers, s.purposes) for s in signals] == [
        ("public", "deny", [user, device], ["marketing"]),
        ("public", "grant", [device], ["ads", "analytics"]),
        ("server", "deny", [user, device], ["marketing"]),
        ("server", "grant", [user, device], ["ads", "analytics"]),
    ]


async def test_a_signal_of_an_event_that_can_not_be_read_names_its_coordinates(
    bus: Settings, producer: BatchProducer
) -> None:
    denied, other = secrets.token_bytes(16), secrets.token_bytes(16)
    await producer.produce(STATE, None, [Message(denied, DENIED)])
    async with gate_of(bus):
        await producer.produce(COLLECTED, 5, [collected([denied, other], b"nonsense")])
        await judged(bus)
    [record] = await everything(bus, SIGNALS)
    assert codec.decode(ConsentSignal, record.value).message_id == f"{bus.topic(COLLECTED)}:5:0"
    assert not await everything(bus, "deadletters")


async def test_no_signal_names_an_identifier_that_stands_for_nobody(
    bus: Settings, producer: BatchProducer
) -> None:
    """A client that sends "undefined" beside every visitor's id must not make one person of them all."""
    hash_ = bus.hasher()
    nobody, denied = hash_(USER_ID, "undefined"), hash_(ANONYMOUS_ID, "denied")
    user, device, previous = hash_(USER_ID, "u"), hash_(ANONYMOUS_ID, "a"), hash_(ANONYMOUS_ID, "null")

    def sent(
        ids: list[bytes], user: str, anonymous: str, was: str | None = None, gpc: bool = False
    ) -> Message:
        seen = Event(
            user + anonymous, SOURCE, "track", "V", user, anonymous, was, None, 1, False, 1, 0, b"{}"
        )
        return collected(ids, codec.encode(seen), Stamp(gpc=True) if gpc else None)

    states = [Message(denied, DENIED), Message(user, DENIED)]
    await producer.produce(STATE, None, states)
    async with gate_of(bus):
        messages = [
            sent([nobody, denied], "undefined", "denied"),
            sent([nobody, device], "undefined", "a", gpc=True),
            sent([nobody, hash_(ANONYMOUS_ID, "0")], "undefined", "0", gpc=True),
            sent([user, device, hash_(USER_ID, "null"), previous], "u", "a", "null"),
        ]
        await producer.produce(COLLECTED, 0, messages)
        await judged(bus)
    signals = [codec.decode(ConsentSignal, record.value) for record in await everything(bus, SIGNALS)]
    found = sorted((signal.kind, signal.identifiers) for signal in signals)
    assert found == [("gpc", [device]), ("link", [user, device])]


async def test_nothing_is_committed_before_its_signal_is_written(
    bus: Settings, producer: BatchProducer
) -> None:
    denied, other = secrets.token_bytes(16), secrets.token_bytes(16)
    await producer.produce(STATE, None, [Message(denied, DENIED)])
    async with _admin(bus) as admin:
        await _delete(admin, bus.topic(SIGNALS))
    async with gate_of(bus):
        await producer.produce(COLLECTED, 0, [collected([denied, other], event())])
        with pytest.raises(TimeoutError):
            await judged(bus, seconds=3)
        await topics.ensure(bus, [SIGNALS])
        await judged(bus, seconds=60)
    assert len(await everything(bus, SIGNALS)) == 1


async def test_what_can_not_be_judged_is_put_aside_and_the_rest_goes_on(
    bus: Settings, producer: BatchProducer
) -> None:
    key = secrets.token_bytes(16)
    good = collected([key], numbered(1))
    headless = Message(key, numbered(2), good.headers[1:])
    unreadable = collected([key], b"not avro")
    async with gate_of(bus):
        await producer.produce(COLLECTED, 2, [headless, good, unreadable])
        await judged(bus)
    assert [record.value for record in await everything(bus, PERMITTED)] == [good.value]
    records = await everything(bus, "deadletters")
    letters = [codec.decode(DeadLetter, record.value) for record in records]
    kept = {letter.offset: list(record.headers) for letter, record in zip(letters, records, strict=True)}
    assert kept == {0: list(headless.headers), 2: list(unreadable.headers)}
    assert sorted((letter.reason, letter.step, letter.offset, letter.payload) for letter in letters) == [
        ("bad_header", "gate", 0, headless.value),
        ("not_avro", "gate", 2, unreadable.value),
    ]


async def test_a_record_too_large_for_what_the_gate_adds_is_put_aside_and_the_rest_goes_on(
    bus: Settings, producer: BatchProducer
) -> None:
    """Of events.permitted the broker takes no more than of events.collected, and a header is added."""
    key = secrets.token_bytes(16)
    limit = int(topics.registry()[COLLECTED].config["max.message.bytes"])
    others = [collected([key], numbered(number)) for number in range(2)]
    size = limit - 1_000
    for _ in range(2):  # the second time as large as the broker takes
        large = collected([key], event("large", bytes(size)))
        batch = producer._alive().create_batch()
        add(batch, large)
        size += limit - batch.size()
    for message in (others[0], large, others[1]):
        await producer.forward(COLLECTED, {0: ([message], 0)})
    async with gate_of(bus):
        await judged(bus)
    passed = [record.value for record in await everything(bus, PERMITTED)]
    assert list(dict.fromkeys(passed)) == [message.value for message in others]
    [record] = await everything(bus, "deadletters")
    letter = codec.decode(DeadLetter, record.value)
    assert (letter.reason, letter.offset, letter.topic) == ("too_large", 1, bus.topic(COLLECTED))
    assert letter.payload == (large.value or b"")[: len(letter.payload)]


async def test_it_counts_what_it_does(bus: Settings, producer: BatchProducer) -> None:
    def counts() -> list[float]:
        dropped = [
            ("candor_dropped_total", {"purpose": p, "source": SOURCE}) for p in ("analytics", "marketing")
        ]
        records = [
            ("candor_records_total", {"stage": "gate", "outcome": o}) for o in ("ok", "dropped", "dead")
        ]
        age = [("candor_event_age_seconds_count", {"stage": "gate"})]
        return [REGISTRY.get_sample_value(name, labels) or 0 for name, labels in dropped + records + age]

    out, partly, other = (secrets.token_bytes(16) for _ in range(3))
    await producer.produce(STATE, None, [Message(out, DENIED), Message(partly, MARKETING_DENIED)])
    before = counts()
    async with gate_of(bus):
        sent = [collected([key], numbered(1)) for key in (out, out, partly, other)]
        await producer.produce(COLLECTED, None, [*sent, Message(other, numbered(2))])
        await judged(bus)
    # Only an event that is dropped counts as such, once for each purpose that it was denied.
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [2, 2, 2, 2, 1, 4]


async def test_nothing_is_judged_while_the_view_is_closed(bus: Settings, producer: BatchProducer) -> None:
    """Its topic is created anew under it: what stood there is gone, and nothing may pass meanwhile."""
    person = secrets.token_bytes(16)
    async with gate_of(bus):
        await producer.produce(COLLECTED, None, [collected([person], numbered(1))])
        await judged(bus)
        async with _admin(bus) as admin:
            await _delete(admin, bus.topic(STATE))
        await producer.produce(COLLECTED, None, [collected([person], numbered(2))])
        with pytest.raises(TimeoutError):
            await judged(bus, seconds=3)
        assert len(await everything(bus, PERMITTED)) == 1
        await topics.ensure(bus, [STATE])
        await judged(bus)
        assert len(await everything(bus, PERMITTED)) == 2


async def test_what_was_judged_is_truncated(bus: Settings, producer: BatchProducer) -> None:
    async with gate_of(bus):
        sent = [collected([secrets.token_bytes(16)], numbered(n)) for n in range(200)]
        await producer.produce(COLLECTED, None, sent)
        offsets = await judged(bus)
        await _truncated(bus, offsets)


async def test_what_a_crash_left_is_truncated_after_the_restart(
    bus: Settings, producer: BatchProducer
) -> None:
    """The commit came through, the truncation did not: no event needs to come for it to be made up for."""
    await producer.produce(COLLECTED, 0, [collected([secrets.token_bytes(16)], numbered(1))])
    member = AIOKafkaConsumer(
        bootstrap_servers=bus.kafka, group_id=bus.topic(GROUP), enable_auto_commit=False
    )
    await member.start()
    offsets = {TopicPartition(bus.topic(COLLECTED), number): int(number == 0) for number in range(PARTITIONS)}
    member.assign(list(offsets))
    await member.commit(offsets)
    await member.stop()
    async with gate_of(bus):
        await _truncated(bus, offsets)


async def test_a_truncation_that_fails_is_tried_again(
    bus: Settings, producer: BatchProducer, caplog: pytest.LogCaptureFixture
) -> None:
    truncation = Truncation(replace(bus, kafka="127.0.0.1:1"), GROUP, producer)
    task = asyncio.create_task(truncation.run())
    async with asyncio.timeout(20):
        while [record.message for record in caplog.records].count("judged events stay for now") < 2:
            await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_judged_payloads_leave_the_disk_though_nothing_more_happens(
    bus: Settings, producer: BatchProducer
) -> None:
    """With a shorter ``segment.ms``; what remains are the broker's retention check and delete delay."""
    dropped, permitted = b"d" * 16, b"p" * 16
    topic = bus.topic(COLLECTED)
    log = await _log_folder(bus)
    folders = [log / f"{topic}-{partition_of(key, PARTITIONS)}" for key in (dropped, permitted)]
    async with _admin(bus) as admin:
        quick = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"segment.ms": "500"})
        await admin.alter_configs([quick])
    secret = secrets.token_hex(16).encode()
    await producer.produce(STATE, None, [Message(dropped, DENIED)])
    async with gate_of(bus, quiet_seconds=1):
        value = event("m", secret)
        await producer.produce(COLLECTED, None, [collected([key], value) for key in (dropped, permitted)])
        await judged(bus)
        assert all(_holds(folder, secret) for folder in folders)
        async with asyncio.timeout(100):
            while any(_holds(folder, secret) for folder in folders):  # noqa: ASYNC110
                await asyncio.sleep(0.5)


async def _truncated(settings: Settings, offsets: Mapping[TopicPartition, int]) -> None:
    """Wait until each partition begins at that offset."""
    async with reader_of(settings, COLLECTED) as reader, asyncio.timeout(20):
        while await reader.beginning_offsets(list(offsets)) != offsets:
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _delete(admin: AIOKafkaAdminClient, topic: str) -> None:
    """Delete it and wait until the broker knows."""
    await admin.delete_topics([topic])
    async with asyncio.timeout(20):
        while not (await admin.describe_topics([topic]))[0]["error_code"]:
            await asyncio.sleep(0.02)


async def _log_folder(settings: Settings) -> Path:
    """Where the broker keeps its partitions; skips where that is on another machine."""
    async with _admin(settings) as admin:
        broker = str((await admin.describe_cluster())["brokers"][0]["node_id"])
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, broker)])
    folder = Path({entry[0]: entry[1] for entry in answer.resources[0][4]}["log.dirs"])
    if not folder.is_dir():  # noqa: ASYNC240
        pytest.skip("the broker's disk is not this machine's")
    return folder


def _holds(folder: Path, secret: bytes) -> bool:
    """Whether any file of the partition contains it, those included that are about to be deleted."""
    found = False
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found |= secret in path.read_bytes()
    return found
