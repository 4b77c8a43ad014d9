"""What a key may send, and what a tracking plan says of it, through a running ingest service."""

from __future__ import annotations

import asyncio

import yaml

from services.kernel import keys
from tests.integration.ingest.world import World, track

ORDER = {"schema": {"required": ["total"], "properties": {"total": {"type": "number"}}}}


async def limited(world: World, kind: str, *, events: int | None = None, bytes_: int | None = None) -> str:
    """The token of a new key that may send so much a second."""
    name = f"limited-{kind}-{world.source}"
    key, token = keys.draft(name, kind, name, rate_events=events, rate_bytes=bytes_)
    keys.add(world.settings.keyring, key)
    async with asyncio.timeout(20):
        while (await world.batch(key=token)).status_code == 401:
            await asyncio.sleep(0.05)
    return token


async def test_a_key_that_sends_too_much_is_asked_to_come_again(world: World) -> None:
    """Ten a second, and at once what was not used in ten seconds. Others are not held up."""
    slow = await limited(world, "server", events=10)
    assert (await world.batch(*[track()] * 100, key=slow)).status_code == 200
    answer = await world.batch(*[track()] * 100, key=slow)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert answer.headers["access-control-expose-headers"] == "retry-after"
    assert (answer.json()["code"], answer.json()["success"]) == ("too_many", False)
    assert (await world.batch(track())).status_code == 200
    async with asyncio.timeout(20):
        while (await world.batch(track(), key=slow)).status_code != 200:
            await asyncio.sleep(0.1)
    assert len(await world.events()) == 102


async def test_bytes_count_as_well(world: World) -> None:
    narrow = await limited(world, "write", bytes_=1_000)
    large = track(properties={"text": "x" * 9_000})
    assert (await world.batch(large, key=narrow)).status_code == 200
    assert (await world.batch(large, key=narrow)).status_code == 429


async def test_a_tracking_plan_blocks_or_reports_and_names_the_place(world: World) -> None:
    """The file is taken up while the service runs. A report holds nothing of the event, which goes on."""
    blocked, reported = f"shop-{world.source}", f"web-{world.source}"
    sources = {
        blocked: {"mode": "block", "events": {"Order Completed": ORDER}},
        reported: {"unplanned": "report", "events": {"Order Completed": ORDER}},
    }
    world.settings.plan.write_text(yaml.safe_dump({"version": 1, "sources": sources}))
    wrong = track(event="Order Completed", properties={"total": "a lot"})
    async with asyncio.timeout(20):
        while not await world.letters():
            assert (await world.batch(wrong)).status_code == 200
            await asyncio.sleep(0.1)
    before = len(await world.events())
    assert (
        await world.batch(wrong, track(event="Order Completed", properties={"total": 5}))
    ).status_code == 200
    assert len(await world.events()) == before + 1
    for _ in range(3):
        assert (await world.batch(wrong, track(), key=world.web)).status_code == 200
    assert len(await world.events()) == before + 7
    letters = await world.letters()
    assert {(one.reason, one.detail) for one in letters if one.source == blocked} == {
        ("plan_violation", "$.properties.total: expected number")
    }
    assert sorted((one.reason, one.detail, one.payload) for one in letters if one.source == reported) == [
        ("plan_reported", "Order Completed: $.properties.total: expected number", b""),
        ("plan_reported", "Viewed: $.event: not in the plan", b""),
    ]
    labels = f'candor_plan_violations_total{{mode="report",source="{reported}"}}'
    assert await world.metric(labels) == 6
