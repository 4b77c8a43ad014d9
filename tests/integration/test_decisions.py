"""Decisions, links and cuts against real servers: none is lost, nobody deadlocks, the topic is right."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack

import pytest

from services.consent import store
from services.consent.domain import rule
from services.consent.domain.rule import Choice
from services.consent.flow import publication
from services.consent.flow.changes import Change, Cut, Decide, Lapse, Link
from services.consent.flow.decisions import Decisions
from services.consent.flow.publication import Publications
from services.consent.flow.reading import in_force, verify_ledger
from services.kernel import codec
from services.kernel.clock import DAY, SystemClock
from services.kernel.events import ConsentState
from services.kernel.outcome import Outage
from services.kernel.postgres import Pool
from services.kernel.settings import Settings
from tests.support.clock import ManualClock
from tests.support.consent import consent, published, until

ANA, BEN, CAT = (bytes([n]) * 16 for n in range(3))


def decide(*names: bytes, id: str = "", **purposes: Choice) -> Decide:
    named: dict[str, Choice] = {"*" if key == "every" else key: choice for key, choice in purposes.items()}
    return Decide("test", id or random.randbytes(8).hex(), frozenset(names), named, "api", b"{}")  # noqa: S311


async def test_an_acknowledged_decision_is_on_the_topic(settings: Settings) -> None:
    async with consent(settings, SystemClock()) as one:
        (noted,) = await one.decisions.submit([decide(ANA, marketing="deny")])
        assert noted.waiting
        await one.publications.wait(noted.waiting)
        ((key, state),) = await published(settings)
    assert key == ANA
    assert (state.version, state.denied) == (1, ["marketing"])


async def test_it_is_acknowledged_though_another_process_publishes(settings: Settings) -> None:
    async with (
        consent(settings, SystemClock()) as publisher,
        consent(settings, SystemClock(), relay=False) as other,
    ):
        for turn in range(20):
            instance = (other, publisher)[turn % 2]
            (noted,) = await instance.decisions.submit([decide(bytes([turn]) * 16, marketing="deny")])
            await instance.publications.wait(noted.waiting)
        assert len(await published(settings)) == 20


async def test_no_sweep_is_needed_while_notifications_come(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "SWEEP_SECONDS", 1000)
    async with (
        consent(settings, SystemClock(), sweep=1000),
        consent(settings, SystemClock(), relay=False) as other,
        asyncio.timeout(60),
    ):
        for turn in range(10):
            (noted,) = await other.decisions.submit([decide(bytes([turn]) * 16, marketing="deny")])
            await other.publications.wait(noted.waiting)


async def test_a_listener_that_was_cut_off_misses_nothing(settings: Settings) -> None:
    async with consent(settings, SystemClock()) as one, asyncio.timeout(60):
        for turn in range(3):
            (noted,) = await one.decisions.submit([decide(bytes([turn]) * 16, marketing="deny")])
            await one.publications.wait(noted.waiting)
            async with one.pool.acquire() as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            while True:
                try:
                    (noted,) = await one.decisions.submit([decide(bytes([turn]) * 16, every="deny")])
                    break
                except Outage:
                    continue
            await one.publications.wait(noted.waiting)


async def test_a_repetition_waits_for_what_the_first_try_could_not_publish(settings: Settings) -> None:
    change = decide(ANA, marketing="deny", id="once")
    async with consent(settings, SystemClock(), relay=False) as one:
        (first,) = await one.decisions.submit([change])
        (again,) = await one.decisions.submit([change])
        assert again.waiting == first.waiting != frozenset()
        waiting = asyncio.create_task(one.publications.wait(again.waiting))
        async with consent(settings, SystemClock()):
            await waiting
        assert len(await published(settings)) == 1
        (third,) = await one.decisions.submit([change])
        assert (third.waiting, third.position) == (frozenset(), first.position)


async def test_two_processes_decide_for_two_purposes_at_once(settings: Settings) -> None:
    names = [random.randbytes(16) for _ in range(30)]  # noqa: S311
    async with consent(settings, SystemClock()) as one, consent(settings, SystemClock()) as other:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(one.decisions.submit([decide(name, marketing="deny")]))
                group.create_task(other.decisions.submit([decide(name, analytics="deny")]))
        for name in names:
            assert (await in_force(one.pool, name)).denied == ["analytics", "marketing"]
        assert [problem async for problem in verify_ledger(one.pool)] == []


async def test_a_link_and_a_decision_at_once(settings: Settings) -> None:
    pairs = [(random.randbytes(16), random.randbytes(16)) for _ in range(30)]  # noqa: S311
    async with consent(settings, SystemClock()) as one, consent(settings, SystemClock()) as other:
        async with asyncio.TaskGroup() as group:
            for pair in pairs:
                group.create_task(one.decisions.submit([decide(pair[0], marketing="deny")]))
                group.create_task(other.decisions.submit([Link(pair)]))
        for _, linked in pairs:
            assert (await in_force(one.pool, linked)).denied == ["marketing"]


async def test_a_link_made_while_a_decision_waits_for_its_lock(settings: Settings) -> None:
    async with consent(settings, SystemClock()) as one, consent(settings, SystemClock()) as other:
        await one.decisions.submit([Lapse(ANA), Lapse(BEN)])
        async with other.pool.acquire() as connection:
            async with connection.transaction():
                await store.lock(connection, [ANA, BEN])
                deciding = asyncio.create_task(one.decisions.submit([decide(ANA, marketing="deny")]))
                await until(lambda: is_waiting(other.pool))
                await store.insert_links(connection, [(ANA, BEN)], 1)
            await deciding
        assert (await in_force(one.pool, BEN)).denied == ["marketing"]


async def is_waiting(pool: Pool) -> bool:
    """Whether a transaction of this database waits for another one's lock."""
    count: int = await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count > 0


async def test_locks_are_taken_in_sorted_order(settings: Settings) -> None:
    async with consent(settings, SystemClock(), relay=False) as one:
        await one.decisions.submit([Lapse(ANA), Lapse(BEN)])
        async with one.pool.acquire() as holder, one.pool.acquire() as waiter:

            async def lock_both() -> None:
                async with waiter.transaction():
                    await store.lock(waiter, [BEN, ANA])

            async with holder.transaction():
                await store.lock(holder, [ANA])
                both = asyncio.create_task(lock_both())
                await until(lambda: is_waiting(one.pool))
                free = await holder.fetch(
                    "SELECT hash FROM identifiers WHERE hash = $1 FOR UPDATE SKIP LOCKED", BEN
                )
                assert [row["hash"] for row in free] == [BEN]
            await both


async def test_one_linked_later_is_denied_and_a_cut_restores(settings: Settings) -> None:
    async with consent(settings, SystemClock()) as one:
        await one.decisions.submit([decide(ANA, every="deny"), decide(CAT, analytics="grant")])
        before = await in_force(one.pool, CAT)
        await one.decisions.submit([Link((BEN, CAT))])
        (noted,) = await one.decisions.submit([Link((ANA, BEN))])
        await one.publications.wait(noted.waiting)
        assert (await in_force(one.pool, CAT)).denied == ["*"]
        (noted,) = await one.decisions.submit([Cut((BEN, ANA))])
        after = await in_force(one.pool, CAT)
        assert (after.denied, after.granted) == (before.denied, before.granted)
        assert (await in_force(one.pool, BEN)).denied == []
        await one.publications.wait(noted.waiting)
        topic = [state for key, state in await published(settings) if key == CAT]
        await one.decisions.submit([Link((ANA, BEN))])
        assert await in_force(one.pool, CAT) == after, "evidence does not lift a cut"
    assert topic[-1] == after
    assert [state.version for state in topic] == sorted({state.version for state in topic})


async def test_what_changes_nothing_is_not_published(settings: Settings) -> None:
    async with consent(settings, SystemClock()) as one:
        await one.decisions.submit([decide(ANA, marketing="deny")])
        await one.decisions.submit([decide(ANA, marketing="deny"), Link((BEN, CAT)), Lapse(ANA)])
        (noted,) = await one.decisions.submit([Lapse(ANA)])
        await one.publications.wait(noted.waiting)
        assert [state.version for _, state in await published(settings)] == [1]


async def test_a_grant_ends_with_a_new_version(settings: Settings) -> None:
    clock = ManualClock()
    async with consent(settings, clock) as one:
        await one.decisions.submit([decide(ANA, marketing="grant"), decide(BEN, every="deny")])
        granted = await in_force(one.pool, ANA)
        assert granted.granted[0].expires_at == clock.now() + 180 * DAY
        clock.advance(180 * DAY - 1)
        assert await one.decisions.lapse() == 0
        clock.advance(1)
        assert await one.decisions.lapse() == 1
        assert await one.decisions.lapse() == 0
        lapsed = await in_force(one.pool, ANA)
        assert (lapsed.version, lapsed.denied, lapsed.granted) == (2, [], [])
        assert (await in_force(one.pool, BEN)).denied == ["*"]


async def test_a_lapse_beside_a_denial_of_every_purpose_is_told_too(settings: Settings) -> None:
    clock = ManualClock()
    async with consent(settings, clock) as one:
        await one.decisions.submit([decide(ANA, every="deny", marketing="grant")])
        clock.advance(181 * DAY)
        assert await one.decisions.lapse() == 1
        lapsed = await in_force(one.pool, ANA)
        assert lapsed.version == 2
        assert rule.answer(lapsed, "marketing", clock.now()) == rule.DEFAULT


async def test_one_that_postgres_refuses_does_not_hurt_those_in_its_transaction(settings: Settings) -> None:
    async with consent(settings, SystemClock()) as one:
        good, bad, other = await asyncio.gather(
            one.decisions.submit([decide(ANA, marketing="deny")]),
            one.decisions.submit([decide(BEN, marketing="deny", id="\0")]),
            one.decisions.submit([decide(CAT, marketing="deny")]),
            return_exceptions=True,
        )
        assert isinstance(bad, Exception) and not isinstance(good, Exception)
        for name, denied in ((ANA, ["marketing"]), (BEN, []), (CAT, ["marketing"])):
            assert (await in_force(one.pool, name)).denied == denied
        assert [problem async for problem in verify_ledger(one.pool)] == []


async def state_by_the_rule(pool: Pool, now: int) -> dict[bytes, tuple[object, ...]]:
    """What holds for everybody, from the whole ledger and all links at once."""
    names = [row["hash"] for row in await pool.fetch("SELECT hash FROM identifiers")]
    async with pool.acquire() as connection:
        links = await store.links_of(connection, names)
        decisions = await store.decisions_of(connection, names)
    effective = rule.effective(names, decisions, links, (), now)
    return {name: (state.denied, state.granted, state.gpc) for name, state in effective.items()}


async def test_many_at_once_in_three_processes(settings: Settings) -> None:
    dice = random.Random(20)  # noqa: S311
    names = [bytes([n]) * 16 for n in range(40)]
    purposes = ["analytics", "marketing", "every"]
    waits: list[tuple[Publications, frozenset[int]]] = []

    async def changes(decisions: Decisions, publications: Publications) -> None:
        for _ in range(60):
            some = dice.sample(names, dice.choice([1, 1, 2, 3]))
            pair = (some[0], dice.choice(names))
            choice: Choice = dice.choice(["deny", "deny", "grant"])
            change: Change = decide(*some, **{dice.choice(purposes): choice})
            if dice.random() < 0.5:
                change = Link(pair)
            if pair[0] == pair[1] or dice.random() < 0.1:
                change = Cut((some[0], names[0] if some[0] != names[0] else names[1]))
            (noted,) = await decisions.submit([change])
            waits.append((publications, noted.waiting))

    async with AsyncExitStack() as stack:
        instances = [
            await stack.enter_async_context(consent(settings, SystemClock(), relay=relay))
            for relay in (True, True, False)
        ]
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for instance in instances:
                for _ in range(5):
                    group.create_task(changes(instance.decisions, instance.publications))
        for publications, waiting in waits:
            await publications.wait(waiting)
        pool = instances[0].pool
        stored = {
            row["hash"]: codec.decode(ConsentState, row["state"])
            for row in await pool.fetch("SELECT hash, state FROM identifiers WHERE state IS NOT NULL")
        }
        expected = await state_by_the_rule(pool, SystemClock().now())
        assert {name: (state.denied, state.granted, state.gpc) for name, state in stored.items()} == {
            name: expected[name] for name in stored
        }
        assert all(not any(expected[name]) for name in expected.keys() - stored.keys())
        assert [problem async for problem in verify_ledger(pool)] == []
    topic = defaultdict(list)
    for key, state in await published(settings):
        topic[key].append(state)
    assert {key: states[-1] for key, states in topic.items()} == stored
    for states in topic.values():
        versions = [state.version for state in states]
        assert versions == sorted(versions)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE ledger SET terms = convert_to(replace(convert_from(terms, 'UTF8'), 'deny', 'grant'), 'UTF8')"
         " WHERE position = 2", "position 2: altered"),
        ("UPDATE ledger SET record = '{\"language\": \"de\"}' WHERE position = 2",
         "position 2: its record was altered"),
        ("DELETE FROM ledger WHERE position = 2", "position 2: the row is missing"),
        ("DELETE FROM ledger WHERE position = 3", "position 3: the end of the chain is missing"),
        ("DELETE FROM ledger_identifiers WHERE position = 2",
         "positions 1 to 3: the index lacks an identifier"),
        ("UPDATE ledger SET salt = NULL, record = NULL", None),
    ],
)  # fmt: skip
async def test_verification_finds_what_was_altered(
    settings: Settings, damage: str, found: str | None
) -> None:
    async with consent(settings, SystemClock(), relay=False) as one:
        await one.decisions.submit([decide(name, marketing="deny") for name in (ANA, BEN, CAT)])
        assert [problem async for problem in verify_ledger(one.pool)] == []
        await one.pool.execute(damage)
        assert [problem async for problem in verify_ledger(one.pool)] == ([found] if found else [])
