"""Publishing: profiles.state ends up showing every profile as it is, in rising versions, by one writer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from services.kernel import headers
from services.kernel.clock import HOUR
from services.kernel.codec import decode
from services.kernel.events import GoldenRecord
from services.kernel.handler import Record
from services.kernel.health import Health
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Identifier
from services.kernel.message import MAX_RECORD_BYTES
from services.kernel.produce import BatchProducer
from services.kernel.relay import Relay
from services.kernel.settings import Settings
from services.profile.domain.facet import Facet, Known, unpack_whole
from services.profile.domain.golden import Member
from services.profile.flow import publishing
from services.profile.flow.publishing import GoldenRecords, Outgoing, Round
from services.profile.store import Profile
from tests.support.clock import ManualClock
from tests.support.profile import Worker, World, eventually, make_event, running, worker


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield World(settings, ManualClock(), producer)
    await producer.stop()


@pytest.fixture
async def one(world: World) -> AsyncIterator[Worker]:
    async with worker(world) as found:
        yield found


async def run_through(one: Worker) -> None:
    """Apply and publish all there is, decisions included."""
    async with running(one.loop(), *one.relays()):
        await one.caught_up()
        await one.published()


def versions(records: list[Record]) -> dict[bytes, list[int]]:
    """Versions by key, in the order of the topic; those of tombstones from their header."""
    found: dict[bytes, list[int]] = {}
    for record in records:
        assert record.key is not None
        if record.value is None:
            version = int(headers.value(record.headers, headers.VERSION) or b"")
        else:
            version = decode(GoldenRecord, record.value).version
        found.setdefault(record.key, []).append(version)
    return found


def rise(numbers: list[int]) -> bool:
    return all(a < b for a, b in itertools.pairwise(numbers))


async def test_a_later_identify_moves_the_anonymous_history(world: World, one: Worker) -> None:
    clock = world.clock
    visits = [make_event(clock, f"v{n}", anonymous_id="a1", ago=n * HOUR) for n in range(3)]
    await world.permit(*visits)
    await world.permit(make_event(clock, "t1", type="identify", user_id="u1", traits={"city": "Rome"}))
    await run_through(one)
    visitor, user = world.anonymous("a1").hex(), world.user("u1").hex()
    assert (await world.golden()).keys() == {visitor, user}
    login = make_event(clock, "i1", type="identify", user_id="u1", anonymous_id="a1", traits={})
    await world.permit(login)
    await run_through(one)
    (record,) = (await world.golden()).values()
    assert (record.profile_id, record.user_ids, record.anonymous_ids) == (user, ["u1"], ["a1"])
    assert record.activity["Viewed"].count == 3
    assert record.traits == b'{"city":"Rome"}'
    assert record.first_seen_at == visits[2].timestamp
    records = await world.read("profiles.state")
    (tombstone,) = [r for r in records if r.value is None]
    assert tombstone.key == visitor.encode()
    assert headers.value(tombstone.headers, headers.MERGED_INTO) == user.encode()
    assert all(rise(numbers) for numbers in versions(records).values())
    assert await one.value("SELECT sum(profiles)::int FROM partitions") == 1


async def test_earlier_evidence_that_comes_late_takes_the_history_along(world: World, one: Worker) -> None:
    """Two people used one device: it belongs to who showed it first, in event time."""
    clock = world.clock
    await world.permit(
        make_event(clock, "v1", anonymous_id="a1"),
        make_event(clock, "i2", type="identify", user_id="u2", anonymous_id="a1", traits={}, ago=HOUR),
    )
    await run_through(one)
    assert (await world.golden())[world.user("u2").hex()].activity["Viewed"].count == 1
    early = make_event(clock, "i1", type="identify", user_id="u1", anonymous_id="a1", traits={}, ago=2 * HOUR)
    await world.permit(early)
    await run_through(one)
    golden = await world.golden()
    assert golden[world.user("u1").hex()].activity["Viewed"].count == 1
    assert golden[world.user("u2").hex()].anonymous_ids == []


async def test_an_alias_joins_two_users_into_one_profile(world: World, one: Worker) -> None:
    clock = world.clock
    await world.permit(*[make_event(clock, f"m{n}", user_id=f"u{n}") for n in range(2)])
    await world.permit(make_event(clock, "m2", anonymous_id="a1"))
    await world.permit(make_event(clock, "m3", user_id="u1", anonymous_id="a1"))
    await run_through(one)
    await world.permit(make_event(clock, "m4", type="alias", user_id="u0", previous_id="u1"))
    await run_through(one)
    (record,) = (await world.golden()).values()
    root = min(world.user("u0"), world.user("u1"))
    assert record.profile_id == root.hex()
    assert sorted(record.user_ids) == ["u0", "u1"]
    assert record.anonymous_ids == ["a1"]
    assert record.activity["Viewed"].count == 4


async def test_each_link_is_published_once_for_each_source(world: World, one: Worker) -> None:
    clock = world.clock
    shown = [
        make_event(clock, f"m{number}", source=source, user_id="u1", anonymous_id="a1", ago=number)
        for number, source in enumerate(["web", "web", "app", "web"])
    ]
    await world.permit(*shown[:2])
    await run_through(one)
    await world.permit(*shown[2:], make_event(clock, "m9", user_id="null", anonymous_id="a1"))
    await run_through(one)
    links = [(link.child, link.parent, link.source) for link in await world.links()]
    assert sorted(links) == sorted(
        (world.anonymous("a1"), world.user("u1"), source) for source in ("web", "app")
    )
    first = "SELECT message_id FROM evidence WHERE source = 'web'"
    assert await one.value(first) == "m3"


async def test_a_decision_has_the_profile_published_with_other_purposes(world: World, one: Worker) -> None:
    await world.permit(
        make_event(world.clock, "m1", anonymous_id="a1"),
        make_event(world.clock, "m2", user_id="u1", anonymous_id="a1"),
    )
    await run_through(one)
    (before,) = (await world.golden()).values()
    assert before.purposes == ["analytics", "marketing"]
    async with running(one.decision_loop(), *one.relays()):
        await world.decide(world.anonymous("a1"), denied=["marketing"])

        async def withdrawn() -> bool:
            (record,) = (await world.golden()).values()
            return record.purposes == ["analytics"] and record.version > before.version

        await eventually(withdrawn)


async def test_a_grant_that_ends_has_the_profile_published_again(world: World) -> None:
    assert isinstance(world.clock, ManualClock)
    end = world.clock.now() + HOUR
    async with worker(world, regime="opt_in") as one:
        async with running(one.decision_loop()):
            await world.decide(world.user("u1"), granted={"analytics": end, "marketing": end + HOUR})
            await world.permit(make_event(world.clock, "m1", user_id="u1"))

            async def noted() -> bool:
                return bool(await one.value("SELECT count(*) = 2 FROM expiries"))

            await eventually(noted)
            await run_through(one)
        for left in (["analytics", "marketing"], ["marketing"], []):
            (record,) = (await world.golden()).values()
            assert record.purposes == left
            world.clock.advance(HOUR)
            await one.control.mark_expired()
            async with running(*one.relays()):
                await one.published()
        assert await one.value("SELECT count(*) FROM expiries") == 0


class TooMuch(GoldenRecords):
    """Kafka can not take more than three profiles in the time that there is."""

    async def messages(self, rows: Round) -> list[Outgoing]:
        if len(rows.profiles) > 3:
            raise TimeoutError
        return await super().messages(rows)


async def test_a_round_that_is_too_much_is_made_smaller(
    world: World, one: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MAX_PROFILES", 12)
    people = [f"u{number}" for number in range(20)]
    for user in people:
        await world.permit(make_event(world.clock, f"m {user}", user_id=user))
    async with running(one.loop()):
        await one.caught_up()
    source = TooMuch(one.view, one.golden._judge, world.clock)
    async with running(Relay(world.settings, "profiles", one.pool, source, Health("test"), sweep=0.1)):
        await eventually(one.nothing_marked)
    assert len(await world.golden()) == len(people)


class Held(GoldenRecords):
    """Stops between reading and publishing, until it is let go on."""

    def hold(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def messages(self, rows: Round) -> list[Outgoing]:
        outgoing = await super().messages(rows)
        self.reached.set()
        await self.go.wait()
        return outgoing


async def test_a_paused_relay_that_wakes_is_refused(world: World, one: Worker) -> None:
    """It had folded and was about to write; meanwhile another one took over and published newer state."""
    clock, settings = world.clock, world.settings
    old = Held(one.view, one.golden._judge, clock)
    old.hold()
    await world.permit(make_event(clock, "m1", user_id="u1"))
    async with running(one.loop()):
        await one.caught_up()
        paused = Relay(settings, "profiles", one.pool, old, Health("test"), sweep=0.1)
        async with running(paused):
            await asyncio.wait_for(old.reached.wait(), 60)
            await one.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            await world.permit(make_event(clock, "m2", user_id="u1"))
            await one.applied(2)
            async with running(one.relays()[0]):
                await eventually(one.nothing_marked)
                old.go.set()
                await asyncio.sleep(0)
                await world.permit(make_event(clock, "m3", user_id="u1"))
                await one.applied(3)
                await eventually(one.nothing_marked)
    records = await world.read("profiles.state")
    assert all(rise(numbers) for numbers in versions(records).values())
    (record,) = (await world.golden()).values()
    assert record.activity["Viewed"].count == 3
    assert min(number for numbers in versions(records).values() for number in numbers) > 1


async def test_a_change_during_publication_is_published_too(world: World, one: Worker) -> None:
    """Only marks that the round has seen are taken away."""
    clock = world.clock
    source = Held(one.view, one.golden._judge, clock)
    source.hold()
    await world.permit(make_event(clock, "m1", user_id="u1"))
    relay = Relay(world.settings, "profiles", one.pool, source, Health("test"), sweep=0.1)
    async with running(one.loop(), relay):
        await asyncio.wait_for(source.reached.wait(), 60)
        await world.permit(make_event(clock, "m2", user_id="u1"))
        await one.applied(2)
        source.go.set()
        await eventually(one.nothing_marked)
    (record,) = (await world.golden()).values()
    assert record.activity["Viewed"].count == 2


async def test_many_marks_of_one_profile_are_one_publication(world: World, one: Worker) -> None:
    await one.claim(range(8))
    await world.permit(make_event(world.clock, "m1", user_id="u1"), partition=0)
    await one.applying.handle(await one.waiting([0]))
    await one.pool.executemany("INSERT INTO marks (root) VALUES ($1)", [(world.user("u1"),)] * 5)
    async with one.pool.acquire() as connection:
        async with connection.transaction():
            rows = await one.golden.read(connection)
        assert rows is not None
        assert len(await one.golden.messages(rows)) == 1
        await one.golden.published(connection, rows)
    assert await one.nothing_marked()


async def test_a_record_too_large_for_the_topic_still_tells_of_a_withdrawn_purpose(
    world: World, one: Worker
) -> None:
    """Without its facts, so that whoever is in a segment leaves it."""
    for number in range(4):
        await world.permit(
            make_event(
                world.clock, f"m{number}", type="identify", user_id="u1", traits={f"t{number}": "x" * 250_000}
            )
        )
    await world.decide(world.user("u1"), denied=["marketing"])
    async with running(one.loop(), *one.relays()):
        await one.applied(4)
        await one.published()
    record = (await world.golden())[world.user("u1").hex()]
    assert record.purposes == ["analytics"]
    assert record.traits == b"{}"
    assert record.user_ids == ["u1"]


async def test_a_profile_of_too_many_identifiers_is_published_with_some_of_them(one: Worker) -> None:
    """Such as that of a till at which all customers are one user: they alone are more than a record holds."""
    root = one.world.user("u0")
    devices = [f"{number:0500d}" for number in range(4_500)]
    members = [Member(root, known(Identifier(USER_ID, "u0")))]
    members += [Member(name.encode(), known(Identifier(ANONYMOUS_ID, name))) for name in devices]
    value = one.golden._folded(Profile(root, members), 7)
    assert len(value) <= MAX_RECORD_BYTES
    record = decode(GoldenRecord, value)
    assert (record.version, record.user_ids, record.purposes) == (7, ["u0"], ["analytics", "marketing"])
    assert 500 < len(record.anonymous_ids) < len(devices)
    assert record.anonymous_ids == devices[: len(record.anonymous_ids)]


def known(identifier: Identifier) -> Known:
    facet = Facet.new(identifier)
    facet.events = 1
    return unpack_whole(facet.pack())
