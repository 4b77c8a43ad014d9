"""I1 to I7, checked from outside: the ledger of what was sent, the topics, and the databases."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel import codec
from services.kernel.events import Event, Transition
from services.kernel.topics import registry
from services.verification import verify_all
from tests.faults.observer import Observer
from tests.faults.traffic import Ledger
from tests.faults.world import World

DRAIN_SECONDS = 60


async def applied(world: World) -> dict[tuple[str, str], Event]:
    """Every applied event by (source, message id). Raises AssertionError for one that stands twice (I2)."""
    connection = await world.connect()
    try:
        rows = await connection.fetch("SELECT record FROM profile.events")
    finally:
        await connection.close()
    found: dict[tuple[str, str], Event] = {}
    for row in rows:
        event = codec.decode(Event, row["record"])
        key = (event.source, event.message_id)
        assert key not in found, f"applied twice: {key}"
        found[key] = event
    return found


async def offsets(connection: Any) -> dict[tuple[str, int], int]:
    """Next offset by service and partition, as Postgres has it."""
    rows = await connection.fetch(
        "SELECT 'profile' AS service, partition, next_offset AS next FROM profile.partitions "
        "UNION ALL SELECT 'segment', partition, kafka_offset FROM segment.partitions"
    )
    return {(row["service"], row["partition"]): row["next"] for row in rows}


class Offsets:
    """I6: samples the offsets while faults go on; they never go back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.last: dict[tuple[str, int], int] = {}

    async def run(self) -> None:
        while True:
            try:
                connection = await self._world.connect()
                try:
                    while True:
                        for key, following in (await offsets(connection)).items():
                            assert following >= self.last.get(key, 0), f"offset of {key} went back"
                            self.last[key] = following
                        await asyncio.sleep(0.1)
                finally:
                    await connection.close()
            except AssertionError:
                raise
            except Exception:  # noqa: BLE001 - Postgres may be down on purpose
                await asyncio.sleep(0.2)


async def drained(world: World, ledger: Ledger) -> float:
    """I7: seconds until everything is judged, and what must be applied is applied and published."""
    started = time.monotonic()
    expected = {message_id for message_id, sent in ledger.sent.items() if sent.user not in ledger.opt_outs}
    while True:
        missing: Any = None
        try:
            found = {message_id for _, message_id in await applied(world)}
            missing = len(expected - found)
            if not missing:
                missing = await _pending(world)
                if not missing:
                    return time.monotonic() - started
        except OSError as error:
            missing = error
        assert time.monotonic() - started < DRAIN_SECONDS, f"not drained after {DRAIN_SECONDS} s: {missing}"
        await asyncio.sleep(0.3)


async def _pending(world: World) -> str:
    """What still waits behind the applied events, empty when nothing does."""
    connection = await world.connect()
    try:
        [counts] = await connection.fetch(
            "SELECT (SELECT count(*) FROM profile.marks) AS marks, "
            "(SELECT count(*) FROM profile.unpublished_links) AS links, "
            "(SELECT count(*) FROM segment.partitions p LEFT JOIN segment.published q USING (partition) "
            " WHERE p.position > coalesce(q.position, 0)) AS transitions"
        )
        behind = await _behind(world, connection)
        unjudged = await _unjudged(world, connection)
    finally:
        await connection.close()
    rest = [*counts.items(), ("golden records", behind), ("events to judge", unjudged)]
    return ", ".join(f"{value} {name}" for name, value in rest if value)


async def _unjudged(world: World, connection: Any) -> int:
    """Events that gate or profile have yet to judge: what is not applied in the end was dropped (I2)."""
    ends = await end_offsets(world, "events.permitted")
    rows = await connection.fetch("SELECT partition, next_offset FROM profile.partitions")
    applied_to = {row["partition"]: row["next_offset"] for row in rows}
    left: int = sum(max(0, end - applied_to.get(partition, 0)) for partition, end in ends.items())
    group = f"{world.settings.topic_prefix}consent-gate"
    consumer = AIOKafkaConsumer(bootstrap_servers=world.settings.kafka, group_id=group)
    await consumer.start()
    try:
        for partition, end in (await end_offsets(world, "events.collected")).items():
            tp = TopicPartition(world.settings.topic("events.collected"), partition)
            committed: int | None = await consumer.committed(tp)
            left += max(0, end - (committed or 0))
    finally:
        await consumer.stop()
    return left


async def _behind(world: World, connection: Any) -> int:
    """Records of profiles.state that segment has not read."""
    ends = await end_offsets(world, "profiles.state")
    rows = await connection.fetch("SELECT partition, kafka_offset FROM segment.partitions")
    read = {row["partition"]: row["kafka_offset"] for row in rows}
    # A transaction's end is a record of its own, which no reader sees.
    return sum(max(0, end - read.get(partition, 0) - 1) for partition, end in ends.items())


async def end_offsets(world: World, topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=world.settings.kafka)
    await consumer.start()
    try:
        name = world.settings.topic(topic)
        partitions = [TopicPartition(name, p) for p in range(registry()[topic].partitions)]
        return {tp.partition: end for tp, end in (await consumer.end_offsets(partitions)).items()}
    finally:
        await consumer.stop()


async def check(world: World, ledger: Ledger, observer: Observer) -> Counter[str]:
    """Assert I1 to I5; returns what was counted. Call it once all is drained."""
    await observer.drained()
    collected = Counter(event.message_id for event in observer.records["events.collected"])
    found = {message_id: event for (_, message_id), event in (await applied(world)).items()}
    lost = [
        message_id for message_id in ledger.sent if message_id not in collected and message_id not in found
    ]
    assert len(lost) <= observer.missed, (
        f"I1: {len(lost)} acknowledged events never were in events.collected, such as {lost[:3]}; "
        f"{observer.missed} records were truncated before they could be read here"
    )

    dead = [letter for letter in observer.records["deadletters"] if letter.step != "ingest"]
    assert not dead, f"I2: {dead[0].step} made a dead letter: {dead[0].reason} {dead[0].detail}"
    refused = sum(letter.step == "ingest" for letter in observer.records["deadletters"])
    assert refused >= ledger.bad, f"I2: of {ledger.bad} bad events that were accepted {refused} are kept"
    unknown = found.keys() - ledger.sent.keys() - ledger.unsure
    assert not unknown, f"I2: applied but never sent: {sorted(unknown)[:3]}"
    unexplained = [
        message_id
        for message_id, sent in ledger.sent.items()
        if message_id not in found and sent.user not in ledger.opt_outs
    ]
    assert not unexplained, f"I2: {len(unexplained)} accepted events have no end, such as {unexplained[:3]}"

    tried = tried_after_opt_out(ledger)
    leaks = [message_id for message_id in tried if message_id in found]
    assert not leaks, f"I3: {len(leaks)} events begun after an acknowledged opt-out were applied"
    await _memberships(world, observer.records["segments.transitions"])
    for what, (counted, faults) in (await verify_all(world.settings)).items():
        assert not faults, f"I4, I5: {what} ({counted}): {faults}"
    return Counter(
        accepted=len(ledger.sent),
        applied=len(found),
        dropped=len(ledger.sent) - len(ledger.sent.keys() & found.keys()),
        bad=ledger.bad,
        repeats=sum(collected.values()) - len(collected),
        opted_out=sum(entry.acknowledged is not None for entry in ledger.opt_outs.values()),
        tried_after_opt_out=len(tried),
        transitions=len(observer.records["segments.transitions"]),
    )


def tried_after_opt_out(ledger: Ledger) -> list[str]:
    """Accepted events that name a person whose opt-out was acknowledged before the first request began. Those
    that name only a device may pass for 2 s after the device was linked, so they say nothing."""
    return [
        message_id
        for message_id, sent in ledger.sent.items()
        if sent.named
        and (opt_out := ledger.opt_outs.get(sent.user)) is not None
        and opt_out.acknowledged is not None
        and sent.began > opt_out.acknowledged
    ]


async def _memberships(world: World, transitions: list[Transition]) -> None:
    """I5: gapless, alternating, repeats alike; their fold is what stands in Postgres."""
    by_key: dict[tuple[str, str], dict[int, Transition]] = defaultdict(dict)
    for transition in transitions:
        known = by_key[transition.profile_id, transition.segment_key]
        earlier = known.setdefault(transition.sequence, transition)
        assert earlier == transition, "I5: a repeat of a transition differs from it"
        assert transition.sequence <= len(known), "I5: a sequence has a gap"
        assert transition.member == (transition.sequence % 2 == 1), "I5: entered and left do not alternate"
    connection = await world.connect()
    try:
        rows = await connection.fetch(
            "SELECT profile_id, segment_key, member, sequence FROM segment.memberships"
        )
    finally:
        await connection.close()
    stored = {(row["profile_id"].hex(), row["segment_key"]): (row["member"], row["sequence"]) for row in rows}
    folded = {key: (known[max(known)].member, max(known)) for key, known in by_key.items()}
    assert folded == stored, "I5: the fold of the transitions is not what is stored"


def describe(counts: Counter[str]) -> str:
    return msgspec.json.encode(dict(counts)).decode()
