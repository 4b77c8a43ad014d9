"""Profiles by the policy: where a person is, what an event is for, and a policy that changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from services.kernel.clock import HOUR, SECOND
from services.kernel.policy import Policy
from services.kernel.policy.model import Catalog, CatalogEvent, Source
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.profile import control, store
from services.profile.domain.facet import unpack
from services.profile.flow.verify import verify
from tests.support.clock import ManualClock
from tests.support.policy import InForce, policy
from tests.support.profile import PURPOSES, Worker, World, make_event, running, worker

CATALOG = Catalog(events={"Counted": CatalogEvent(purposes=("analytics",), why={})})


def policy_of(**regimes: str) -> Policy:
    sources = {"shop": Source(jurisdiction="US")}
    found = policy(purposes=PURPOSES, sources=sources, catalog=CATALOG)
    return msgspec.structs.replace(found, jurisdictions=regimes)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(settings: Settings, clock: ManualClock) -> AsyncIterator[World]:
    producer = BatchProducer(settings, "test")
    await producer.start()
    yield World(settings, clock, producer)
    await producer.stop()


@pytest.fixture
def policies() -> InForce:
    return InForce(policy_of(US="opt_out", DE="opt_in"))


@pytest.fixture
async def one(world: World, policies: InForce) -> AsyncIterator[Worker]:
    async with worker(world, policies=policies) as found:
        yield found


async def run_through(one: Worker) -> None:
    async with running(one.loop(), *one.relays()):
        await one.caught_up()
        await one.published()


async def purposes(world: World) -> dict[str, list[str]]:
    """Of every golden record, by the user's id."""
    return {record.user_ids[0]: record.purposes for record in (await world.golden()).values()}


def declared(world: World, id: str, place: str | None, **fields: Any) -> Any:
    return make_event(world.clock, id, place=place, place_declared=place is not None, **fields)


async def test_a_profile_is_judged_by_the_place_that_its_events_declared_last(
    world: World, one: Worker
) -> None:
    await world.decide(world.user("moved"), granted={"analytics": 1 << 62})
    await world.permit(
        declared(world, "1", "US", user_id="stayed"),
        declared(world, "2", "US", user_id="moved"),
        declared(world, "3", "DE", user_id="moved", ago=-HOUR),
        declared(world, "4", None, user_id="moved", ago=-2 * HOUR),
        # Comes last and happened first.
        declared(world, "5", "US", user_id="moved", ago=HOUR),
    )
    await run_through(one)
    assert await purposes(world) == {"stayed": ["analytics", "marketing"], "moved": ["analytics"]}
    assert (await verify(one.pool, world.settings.hasher())).faults == 0
    id = world.user("stayed")
    facet = unpack(await one.value("SELECT state FROM facets WHERE id = $1", id))
    facet.stay = (True, 0, "", "DE")
    await one.pool.execute("UPDATE facets SET state = $1 WHERE id = $2", facet.pack(), id)
    assert (await verify(one.pool, world.settings.hasher())).faults == 1


async def test_what_a_source_says_of_its_people_never_outranks_what_an_event_declares(
    world: World, one: Worker
) -> None:
    await world.decide(world.user("u"), granted={"analytics": 1 << 62})
    shop = make_event(world.clock, "2", source="shop", place="US", user_id="u", ago=-HOUR)
    await world.permit(declared(world, "1", "DE", user_id="u"), shop)
    await world.permit(make_event(world.clock, "3", source="shop", place="US", user_id="v"))
    await run_through(one)
    assert await purposes(world) == {"u": ["analytics"], "v": ["analytics", "marketing"]}


async def test_events_are_judged_again_by_place_source_and_what_they_are_for(
    world: World, one: Worker
) -> None:
    await world.decide(world.user("u"), denied=["analytics"])
    await world.permit(
        declared(world, "1", "US", user_id="u", name="Counted"),
        declared(world, "2", "US", user_id="u"),
        declared(world, "3", "DE", user_id="v"),
        declared(world, "4", None, user_id="w"),
        # Of before events bore a place: the source's.
        make_event(world.clock, "5", source="shop", user_id="x"),
    )
    await run_through(one)
    kept = await one.pool.fetch("SELECT facet, purposes FROM events")
    assert {(row["facet"], row["purposes"]) for row in kept} == {
        (world.user("u"), "marketing"),
        (world.user("x"), "analytics,marketing"),
    }


async def test_a_policy_that_judges_otherwise_has_every_profile_folded_again(
    world: World, one: Worker, policies: InForce, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "PAGE", 4)
    await one.control.refold()
    people = [f"u{number}" for number in range(10)]
    await world.permit(*[declared(world, user, "US", user_id=user) for user in people])
    await run_through(one)
    assert set(map(tuple, (await purposes(world)).values())) == {("analytics", "marketing")}

    policies.current, policies.judging_since = policy_of(US="opt_in"), clock.now()
    await one.control.refold()
    assert await one.nothing_marked()  # other processes may not know yet
    clock.advance(control.SETTLED_SECONDS * SECOND)
    await one.control.refold()
    await run_through(one)
    assert await purposes(world) == dict.fromkeys(people, [])
    version = await one.value("SELECT last_value FROM versions")
    await one.control.refold()
    assert await one.nothing_marked()
    assert await one.value("SELECT last_value FROM versions") == version


async def test_what_a_policy_folded_that_was_taken_back_at_once_is_folded_again(
    world: World, one: Worker, policies: InForce, clock: ManualClock
) -> None:
    await world.decide(world.user("u"), granted={"analytics": 1 << 62})
    await one.control.refold()
    before = policies.current
    clock.advance(HOUR)
    policies.current, policies.judging_since = policy_of(US="opt_in"), clock.now()
    await world.permit(declared(world, "1", "US", user_id="u"))
    await run_through(one)
    assert await purposes(world) == {"u": ["analytics"]}
    clock.advance(SECOND)
    policies.current, policies.judging_since = before, clock.now()
    clock.advance(control.SETTLED_SECONDS * SECOND)
    await one.control.refold()
    await run_through(one)
    assert await purposes(world) == {"u": ["analytics", "marketing"]}


async def test_folding_again_goes_on_after_a_restart(
    world: World, one: Worker, policies: InForce, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [f"u{number}" for number in range(10)]
    await world.permit(*[declared(world, user, "US", user_id=user) for user in people])
    await run_through(one)
    monkeypatch.setattr(control, "PAGE", 3)
    async with one.pool.acquire() as connection, connection.transaction():
        await store.begin_refolding(connection, policies.current.judged_by, clock.now(), 0)
        assert await store.mark_page(connection, 3)
    assert await one.value("SELECT count(*) FROM marks") == 3
    async with worker(world, policies=policies) as restarted:
        await restarted.control.refold()
        assert await one.value("SELECT count(DISTINCT root) FROM marks") == 10
        assert await one.value("SELECT count(*) FROM marks") == 10


async def test_who_took_the_policy_up_late_has_profiles_folded_again(
    world: World, one: Worker, policies: InForce, clock: ManualClock
) -> None:
    """It may have folded some by the policy before."""
    await world.permit(declared(world, "1", "US", user_id="u"))
    await run_through(one)
    await one.control.refold()
    await run_through(one)
    late = InForce(policies.current, judging_since=clock.now() + SECOND)
    async with worker(world, policies=late) as other:
        clock.advance((control.SETTLED_SECONDS + 1) * SECOND)
        await other.control.refold()
        assert await one.value("SELECT count(*) FROM marks") == 1
