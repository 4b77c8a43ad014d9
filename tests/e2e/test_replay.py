"""Dead letters sent again with `candor deadletters`, through the whole system."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from services.kernel import codec, headers
from services.kernel.clock import SystemClock
from services.kernel.deadletter import DeadLetters, Letter
from services.kernel.events import DeadLetter, Event
from services.kernel.identifier import USER_ID
from services.kernel.message import Message
from tests.support.gate import everything, judged, producer_of
from tests.support.outside import Outside, eventually, track


async def put_aside(candor: Outside, step: str, *letters: Letter) -> None:
    """Dead letters as a version left them that could not process what this one can."""
    async with producer_of(candor.settings) as producer:
        await DeadLetters(producer, SystemClock(), step).send_messages(letters)


def letter(candor: Outside, step: str, source: str, user: str, payload: bytes, topic: str | None) -> Letter:
    key = candor.settings.hasher()(USER_ID, user)
    now = SystemClock().now()
    named = [(headers.SOURCE, source.encode()), (headers.STARTED, b"%d" % now)]
    if topic is not None:
        named.append((headers.IDENTIFIERS, key))
    value = DeadLetter("mended", step, "", topic and candor.settings.topic(topic), 0, 9, source, now, payload)
    return Letter(key, value, named)


def event(user: str, source: str) -> bytes:
    now = SystemClock().now()
    day = now // 86_400_000_000
    return codec.encode(
        Event(f"{user}-1", source, "track", "Bought", user, None, None, None, now, False, now, day, b"{}")
    )


def call(user: str) -> bytes:
    """Without a message id."""
    return json.dumps({"type": "track", "event": "Bought", "userId": user}).encode()


async def replayed_to(candor: Outside, users: Sequence[str], name: str) -> None:
    """Wait until all that was written for these people before is applied."""
    await candor.accepted(*[track(user, name, f"{user}-{name}") for user in users])
    for user in users:
        await eventually(lambda user=user: _count(candor, user, name))  # type: ignore[misc]


async def _count(candor: Outside, user: str, name: str) -> bool:
    return await candor.count(f"user_id:{user}", name) > 0


async def letters_of(candor: Outside, source: str) -> list[tuple[DeadLetter, ConsumerRecord]]:
    found = [
        (codec.decode(DeadLetter, record.value), record)
        for record in await everything(candor.settings, "deadletters")
    ]
    return [(value, record) for value, record in found if value.source == source]


@pytest.mark.timeout(240)
async def test_letters_of_every_stage_are_replayed_once_and_not_for_who_opted_out(candor: Outside) -> None:
    source = candor.name("source")
    user = {step: candor.name(step) for step in ("ingest", "gate", "profile", "segment")}
    denied = {step: candor.name(f"denied-{step}") for step in ("ingest", "gate", "profile")}
    topics: dict[str, str | None] = {
        "ingest": None,
        "gate": "events.collected",
        "profile": "events.permitted",
        "segment": "profiles.state",
    }
    for step, topic in topics.items():
        for person in [user[step], *([denied[step]] if step in denied else [])]:
            payload = call(person) if step == "ingest" else event(person, source)
            await put_aside(candor, step, letter(candor, step, source, person, payload, topic))
    for person in denied.values():
        await candor.decide({"user_id": person}, {"*": "deny"})

    tried = await candor.command("deadletters", "replay", "--source", source, "--dry-run")
    assert "6 could be replayed: gate 2, ingest 2, profile 2\n1 refused" in tried
    await judged(candor.settings)
    assert await candor.profile(f"user_id:{user['gate']}") is None

    told = await candor.command("deadletters", "replay", "--source", source)
    assert "6 replayed: gate 2, ingest 2, profile 2\n1 refused" in told
    assert "a letter of segment: only events can be replayed" in told
    people = [user[step] for step in denied]
    await replayed_to(candor, people, "After")
    assert [await candor.count(f"user_id:{person}", "Bought") for person in people] == [1, 1, 1]

    await candor.command("deadletters", "replay", "--source", source)
    await replayed_to(candor, people, "Later")
    assert [await candor.count(f"user_id:{person}", "Bought") for person in people] == [1, 1, 1]

    await judged(candor.settings)
    permitted = {record.key for record in await everything(candor.settings, "events.permitted")}
    hasher = candor.settings.hasher()
    assert permitted >= {hasher(USER_ID, person) for person in people}
    assert permitted.isdisjoint({hasher(USER_ID, person) for person in denied.values()})
    assert [await candor.profile(f"user_id:{person}") for person in denied.values()] == [None] * 3


async def test_what_is_still_bad_is_a_dead_letter_again_with_its_origin(candor: Outside) -> None:
    source, user = candor.name("source"), candor.name("bad")
    good = letter(candor, "gate", source, user, b"", "events.collected")
    async with producer_of(candor.settings) as producer:
        bad = Message(good.key, b"not avro", good.headers)
        [(partition, offset)] = await producer.produce("events.collected", None, [bad])
    origin = f"{candor.settings.topic('events.collected')}:{partition}:{offset}"

    async def dead(count: int) -> bool:
        return len(await letters_of(candor, source)) == count

    await eventually(lambda: dead(1))
    assert "1 replayed: gate 1" in await candor.command("deadletters", "replay", "--source", source)
    await eventually(lambda: dead(2))
    assert "2 replayed: gate 2" in await candor.command(
        "deadletters", "replay", "--source", source, "--reason", "not_avro", "--step", "gate", "--since", "5m"
    )
    await eventually(lambda: dead(4))
    origins = [headers.value(r.headers, headers.ORIGIN) for _, r in await letters_of(candor, source)]
    assert sorted(origins, key=str) == sorted([None, *[origin.encode()] * 3], key=str)
    listed = await candor.command("deadletters", "list", "--source", source)
    assert listed.count(origin) == 3
    assert "not_avro  4" in listed
    assert "not_avro" not in await candor.command("deadletters", "list", "--source", source, "--until", "5m")


async def test_a_call_that_ingest_still_refuses_stays_the_letter_that_it_is(candor: Outside) -> None:
    user = candor.name("bad")
    await candor.accepted({"type": "track", "userId": user})
    [record] = [
        found for value, found in await letters_of(candor, "demo-web") if user.encode() in value.payload
    ]
    place = f"{record.partition}:{record.offset}"
    told = await candor.command("deadletters", "replay", "--place", place)
    assert "0 replayed\n1 refused" in told and "missing_field" in told and "$.event" in told
    assert (
        len([1 for value, _ in await letters_of(candor, "demo-web") if user.encode() in value.payload]) == 1
    )
    shown: Any = json.loads(await candor.command("deadletters", "show", place))
    assert shown["value"]["payload"]["userId"] == user


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "choose with"),
        (["replay", "--all", "--reason", "x"], "--all"),
        (["list", "--since", "soon"], "30m, 2h or 7d"),
    ],
)
async def test_a_choice_that_says_nothing_is_refused(
    candor: Outside, arguments: list[str], said: str
) -> None:
    assert said in await candor.command("deadletters", *arguments, code=2)
