"""Golden records to transitions, against a real Postgres."""

from __future__ import annotations

import msgspec
import pytest

from services.kernel import codec
from services.kernel.clock import DAY, HOUR
from services.kernel.events import Cause, Transition
from services.kernel.outcome import BadRecord, Outage
from services.kernel.postgres import Pool
from services.kernel.settings import Settings
from services.segment.flow.judging import _read
from services.segment.flow.publishing import BATCH_BYTES, Transitions
from services.segment.store.statements import SQL
from tests.integration.segment.world import (
    BERLIN,
    BOUGHT_LATELY,
    World,
    golden,
    kafka_record,
    orders,
    place,
    profile,
)
from tests.support.clock import ManualClock


async def test_a_person_enters_and_leaves_with_a_gapless_sequence(world: World) -> None:
    await world.define("berlin", BERLIN)
    for version, city in enumerate(["Paris", "Berlin", "Berlin", "Rome", "Berlin"], 1):
        await world.feed(golden("ada", version, city=city))
    assert await world.story("ada", "berlin") == [(1, True, "rule"), (2, False, "rule"), (3, True, "rule")]
    assert await world.members("berlin") == {profile("ada")}


async def test_a_transition_says_who_why_and_when(world: World) -> None:
    await world.define("berlin", BERLIN)
    seen = world.clock.now() - 5
    await world.feed(golden("ada", seen_at=seen, anonymous_ids=["b1", "b2"], city="Berlin"))
    (transition,) = await world.transitions()
    assert transition.user_id == "ada"
    assert transition.anonymous_ids == ["b1", "b2"]
    assert transition.segment_version == 1
    assert transition.cause == Cause("profiles.state", place(profile("ada")), 0)
    assert (transition.occurred_at, transition.evaluated_at) == (seen, world.clock.now())


async def test_older_and_repeated_versions_change_nothing(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", 5, city="Berlin"))
    await world.feed(golden("ada", 4, city="Rome"))
    await world.feed(golden("ada", 5, city="Rome"))
    assert await world.story("ada", "berlin") == [(1, True, "rule")]


async def test_of_several_versions_in_a_batch_the_newest_counts(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(
        golden("ada", 3, city="Berlin"), golden("ada", 2, city="Rome"), golden("bob", 1, city="Rome")
    )
    assert await world.members("berlin") == {profile("ada")}


async def test_whoever_withdraws_the_purpose_leaves_and_comes_back_with_it(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", 1, city="Berlin"))
    await world.feed(golden("ada", 2, purposes=["analytics"], city="Berlin"))
    await world.feed(golden("ada", 3, city="Berlin"))
    assert await world.story("ada", "berlin") == [
        (1, True, "rule"),
        (2, False, "consent"),
        (3, True, "consent"),
    ]


async def test_time_alone_makes_people_leave(world: World, clock: ManualClock) -> None:
    await world.define("buyers", BOUGHT_LATELY)
    bought = clock.now()
    await world.feed(
        golden("ada", activity=orders(bought)), golden("bob", activity=orders(bought + 2 * HOUR))
    )
    clock.advance(24 * HOUR - 1)
    await world.judging.revisit()
    assert await world.members("buyers") == {profile("ada"), profile("bob")}
    clock.advance(1)
    await world.judging.revisit()
    assert await world.members("buyers") == {profile("bob")}
    assert await world.story("ada", "buyers") == [(1, True, "rule"), (2, False, "time")]
    left = (await world.transitions())[-1]
    assert left.cause is None
    assert left.occurred_at == bought + 24 * HOUR


async def test_time_alone_makes_people_enter(world: World, clock: ManualClock) -> None:
    await world.define("old", {"trait": "since", "op": "older_than", "value": {"days": 1}})
    await world.feed(golden("ada", since=clock.now() // 1_000_000))
    clock.advance(DAY)
    await world.judging.revisit()
    assert await world.story("ada", "old") == [(1, True, "time")]


async def test_a_segment_defined_later_fills_from_what_is_there(world: World) -> None:
    people = [golden(f"person {i}", city="Berlin" if i % 3 else "Rome") for i in range(1000)]
    await world.feed(*people)
    world.clock.advance(7)
    await world.define("berlin", BERLIN)
    await world.judging.revisit()
    assert len(await world.members("berlin")) == 666
    transitions = await world.transitions()
    assert {(item.reason, item.cause, item.occurred_at) for item in transitions} == {
        ("definition", None, world.clock.now())
    }
    assert await world.reader.judged_by() == 1


async def test_a_changed_segment_is_judged_anew(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", city="Berlin"), golden("bob", city="Rome"))
    await world.define("berlin", {"not": BERLIN})
    await world.judging.revisit()
    assert await world.members("berlin") == {profile("bob")}
    assert await world.story("ada", "berlin") == [(1, True, "rule"), (2, False, "definition")]
    assert {item.segment_version for item in await world.transitions() if item.sequence == 2} == {2}


async def test_the_same_definition_again_is_no_new_version(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.define("berlin", dict(reversed(BERLIN.items())))
    assert (await world.catalogs.current()).segments["berlin"].version == 1


async def test_members_of_a_deleted_segment_leave_and_its_sequences_go_on(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", city="Berlin"))
    assert await world.catalogs.delete("berlin", world.clock.now())
    await world.judging.revisit()
    assert await world.members("berlin") == set()
    await world.define("berlin", BERLIN)
    await world.judging.revisit()
    assert await world.story("ada", "berlin") == [
        (1, True, "rule"),
        (2, False, "definition"),
        (3, True, "definition"),
    ]
    assert (await world.catalogs.current()).segments["berlin"].version == 3


async def test_a_merge_an_unmerge_and_an_erasure(world: World) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", 1, city="Berlin"))
    await world.feed(("ada", 2, "bob"))
    merged = (await world.transitions())[-1]
    assert (merged.user_id, merged.reason) == ("ada", "merge")
    assert await world.pool.fetchval(
        "SELECT merged_into FROM transitions WHERE sequence = 2"
    ) == bytes.fromhex(profile("bob"))
    await world.feed(golden("ada", 1, city="Berlin"))  # an older version does not bring her back
    world.clock.advance(1)
    await world.feed(golden("ada", 3, city="Berlin"))
    world.clock.advance(1)
    await world.feed(("ada", 4, None))
    assert await world.story("ada", "berlin") == [
        (1, True, "rule"),
        (2, False, "merge"),
        (3, True, "unmerge"),
        (4, False, "erasure"),
    ]
    assert (await world.transitions())[-1].user_id == "ada"  # as the tools know her


async def test_an_erased_persons_exit_names_her_until_it_is_published(world: World, pool: Pool) -> None:
    await world.define("berlin", BERLIN)
    await world.feed(golden("ada", 1, city="Berlin"))
    await world.feed(golden("ada", 2, city="Berlin", purposes=[]), ("ada", 3, None))  # in one batch
    transitions = Transitions()
    async with pool.acquire() as connection, connection.transaction():
        rows = await transitions.read(connection)
        assert rows is not None
        told = [codec.decode(Transition, m.value) for _, _, m in (await transitions.messages(rows))[::2]]
        assert [(item.member, item.user_id) for item in told] == [(True, "ada"), (False, "ada")]
        await transitions.published(connection, rows)
    assert [item.user_id for item in await world.transitions()] == [None, None]


async def test_a_zombie_is_rolled_back_whole(world: World, alone: Settings, pool: Pool) -> None:
    """A paused process that wakes with an old epoch writes nothing, whatever partitions it still has."""
    await world.define("berlin", BERLIN)
    other = World(alone, pool, world.clock)
    await world.feed(golden("ada", 1, city="Berlin"))
    taken = {place(profile("bob"))}
    await other.writer.take(taken)
    batch = world.batch(golden("ada", 2, city="Rome"), golden("bob", 1, city="Berlin"))
    assert place(profile("ada")) not in taken
    with pytest.raises(Outage):
        await world.judging.handle(batch)
    assert await world.members("berlin") == {profile("ada")}
    assert await pool.fetchval("SELECT max(version) FROM records") == 1
    await world.define("rome", {"not": BERLIN})
    await world.judging.revisit()  # of what it still has, and not of what it lost
    assert await pool.fetchval("SELECT judged_by FROM partitions WHERE partition = ANY($1)", taken) == 0


async def test_after_a_crash_between_the_commits_nothing_is_done_twice(
    world: World, alone: Settings, pool: Pool
) -> None:
    """Postgres has committed, Kafka has not: the successor begins where Postgres stands, and a replay of
    what was done changes nothing."""
    await world.define("berlin", BERLIN)
    batch = world.batch(golden("ada", 1, city="Rome"), golden("ada", 2, city="Berlin"))
    await world.judging.handle(batch)
    successor = World(alone, pool, world.clock)
    starts = await successor.take_all()
    (tp,) = batch
    assert starts[tp] == 2
    assert sum(starts.values()) == 2
    before = await world.transitions()
    await successor.judging.handle(batch)
    assert await world.transitions() == before
    assert await pool.fetchval("SELECT kafka_offset FROM partitions WHERE partition = $1", tp.partition) == 2


async def test_stored_offsets_never_go_back(world: World, pool: Pool) -> None:
    old = world.batch(golden("ada", 1))
    await world.judging.handle(world.batch(golden("ada", 2)))
    await world.judging.handle(old)
    assert await pool.fetchval("SELECT max(kafka_offset) FROM partitions") == 2


async def test_identifiers_lead_to_the_profile_that_has_them_now(world: World) -> None:
    hasher = world.settings.hasher()
    shared, mail = hasher("anonymous_id", "browser"), hasher("user_id", "second")
    await world.feed(golden("ada", 1, anonymous_ids=["browser"], user_ids=["ada", "second"]))
    assert await world.reader.find(shared) == bytes.fromhex(profile("ada"))
    assert await world.reader.find(mail) == bytes.fromhex(profile("ada"))
    await world.feed(golden("ada", 2), golden("bob", 1, anonymous_ids=["browser"]))
    assert await world.reader.find(shared) == bytes.fromhex(profile("bob"))
    assert await world.reader.find(mail) is None
    await world.feed(("bob", 2, "ada"))
    assert await world.reader.find(shared) is None


async def test_what_is_no_golden_record_is_refused_with_its_reason(world: World) -> None:
    good = codec.encode(golden("ada"))
    key = profile("ada").encode()
    for record, reason in [
        (kafka_record(0, 0, key, b"nonsense"), "not_avro"),
        (kafka_record(0, 0, b"xyz", good), "bad_key"),
        (kafka_record(0, 0, profile("bob").encode(), good), "bad_key"),
        (kafka_record(0, 0, key, None), "bad_headers"),
    ]:
        with pytest.raises(BadRecord) as caught:
            _read(record)
        assert caught.value.reason == reason


async def test_every_statement_is_sound(pool: Pool) -> None:
    """Postgres accepts all of store.sql, those that no other test reaches included."""
    for name, statement in SQL._statements.items():
        async with pool.acquire() as connection:
            assert await connection.prepare(statement), name


async def test_withdrawal_reaches_who_has_traits_that_can_not_be_read(world: World) -> None:
    await world.define("anyone", {"not": BERLIN})
    traits = b'{"city": 1e999}'
    assert await world.feed(msgspec.structs.replace(golden("ada"), traits=traits)) == 0
    assert await world.members("anyone") == {profile("ada")}
    await world.feed(msgspec.structs.replace(golden("ada", 2, purposes=["analytics"]), traits=traits))
    assert await world.members("anyone") == set()
    assert (await world.transitions())[-1].reason == "consent"


async def test_large_transitions_are_published_a_part_at_a_time(world: World) -> None:
    """A person of very many devices in many segments must not hold up everybody's."""
    for number in range(4):
        await world.define(f"berlin{number}", BERLIN)
    devices = [f"{number:0500d}" for number in range(1_600)]
    for number in range(6):
        await world.feed(golden(f"person {number}", city="Berlin", anonymous_ids=devices))
    source = Transitions()
    found: list[tuple[int, int]] = []
    rounds = 0
    async with world.pool.acquire() as connection, connection.transaction():
        while (rows := await source.read(connection)) is not None:
            assert sum(len(row["value"]) for row in rows) <= BATCH_BYTES
            found += [(row["partition"], row["position"]) for row in rows]
            await source.published(connection, rows)
            rounds += 1
    assert rounds == 2
    assert len(set(found)) == 24 and found == sorted(found)
