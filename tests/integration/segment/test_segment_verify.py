"""Promise 7: memberships equal a recompute from scratch, by an evaluation that shares nothing with ours."""

from __future__ import annotations

import random
from typing import Any

import pytest

from services.kernel.clock import DAY, HOUR
from services.kernel.events import GoldenRecord
from services.segment.flow.verify import verify
from tests.integration.segment.world import BERLIN, PURPOSES, World, golden, orders, profile

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "berlin": ("marketing", BERLIN),
    "buyers": ("analytics", {"event": "Order", "count": {"op": "gte", "value": 2}, "within": {"hours": 36}}),
    "quiet": (
        "marketing",
        {"not": {"event": "Order", "count": {"op": "gte", "value": 1}, "within": {"days": 3}}},
    ),
}


def belongs(key: str, golden: GoldenRecord, city: str, times: list[int], now: int) -> bool:
    """The three rules in plain words."""
    if RULES[key][0] not in golden.purposes:
        return False
    if key == "berlin":
        return city == "Berlin"
    hours = 36 if key == "buyers" else 72
    lately = sum(time // HOUR > (now - hours * HOUR) // HOUR for time in times)
    return lately >= 2 if key == "buyers" else lately == 0


@pytest.mark.parametrize("seed", range(3))
async def test_fold_of_transitions_equals_recompute(world: World, seed: int) -> None:
    """Random people, changes of definitions, withdrawals, and time that passes."""
    chance = random.Random(seed)  # noqa: S311
    names = [f"person {i}" for i in range(60)]
    people: dict[str, tuple[GoldenRecord, str, list[int]]] = {}
    defined: set[str] = set()
    for step in range(40):
        world.clock.advance(chance.randrange(6 * HOUR))
        now = world.clock.now()
        if chance.random() < 0.3:
            key = chance.choice(sorted(RULES))
            if key in defined and chance.random() < 0.4:
                await world.catalogs.delete(key, now)
                defined.discard(key)
            else:
                await world.define(key, RULES[key][1], RULES[key][0])
                defined.add(key)
        changed = chance.sample(names, 10)
        for name in changed:
            times = [now - chance.randrange(4 * DAY) for _ in range(chance.randrange(4))]
            city = chance.choice(["Berlin", "Rome"])
            purposes = [purpose for purpose in PURPOSES if chance.random() < 0.8]
            record = golden(
                name, step + 1, purposes=purposes, activity=orders(*times) if times else None, city=city
            )
            people[name] = record, city, times
        await world.feed(*(people[name][0] for name in changed))
        await world.judging.revisit()

        folded: dict[tuple[str, str], tuple[int, bool]] = {}
        for item in sorted(await world.transitions(), key=lambda item: item.sequence):
            sequence, member = folded.get((item.segment_key, item.profile_id), (0, False))
            assert item.sequence == sequence + 1
            assert item.member is not member
            folded[item.segment_key, item.profile_id] = item.sequence, item.member
        expected = {
            (key, profile(name))
            for key in defined
            for name, (record, city, times) in people.items()
            if belongs(key, record, city, times, now)
        }
        assert {place for place, (_, member) in folded.items() if member} == expected
    report = await verify(world.pool, world.clock.now())
    assert (report.faults, report.pending, report.profiles) == (0, 0, len(people))
    assert report.memberships == len(expected)


async def test_verify_finds_what_was_tampered_with(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(
        *(golden(name, city="Berlin") for name in ("ada", "bob", "cy")), golden("di", city="Rome")
    )
    await world.feed(golden("ada", 2, city="Rome"), golden("cy", 2, city="Rome"))
    await world.feed(golden("ada", 3, city="Berlin"))
    assert (await verify(world.pool, world.clock.now())).faults == 0
    ada, bob, di = (bytes.fromhex(profile(name)) for name in ("ada", "bob", "di"))
    await world.pool.execute("DELETE FROM transitions WHERE profile_id = $1 AND sequence = 2", ada)
    await world.pool.execute("DELETE FROM memberships WHERE profile_id = $1", bob)
    await world.pool.execute(
        "INSERT INTO memberships SELECT $1, segment_key, true, 1, 1, reason, 0, partition, 99"
        " FROM memberships WHERE profile_id = $2",
        di,
        ada,
    )
    report = await verify(world.pool, world.clock.now())
    assert f"profile {bob.hex()} is missing in berlin" in report.examples
    assert f"profile {di.hex()} should not be in berlin" in report.examples
    assert f"profile {ada.hex()}: transitions of berlin have a gap or a wrong end" in report.examples
    assert any("positions have a gap" in line for line in report.examples)
    assert any("is counted wrong" in line for line in report.examples)


async def test_what_is_on_its_way_is_pending_and_no_fault(world: World) -> None:
    await world.feed(golden("ada", city="Berlin"))
    await world.define("berlin", BERLIN)
    report = await verify(world.pool, world.clock.now())
    assert (report.faults, report.pending) == (0, 1)
