"""Nothing is lost, doubled or leaked while parts are killed, paused and restarted under load.

Short by default; ``make faults`` (CANDOR_FAULT_ROUNDS=20) draws more rounds. CANDOR_FAULT_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from tests.faults import invariants
from tests.faults.observer import Observer
from tests.faults.traffic import Ledger, Traffic
from tests.faults.world import PARTS, World, world

pytestmark = pytest.mark.alone

SEED = int(os.environ.get("CANDOR_FAULT_SEED", "20261123"))
ROUNDS = int(os.environ.get("CANDOR_FAULT_ROUNDS", "0"))
SESSION_SECONDS = 15
"""A consumer that is silent for longer loses its partitions."""

SEGMENTS = {
    "buyers": {
        "name": "Bought three times in 30 days",
        "purpose": "marketing",
        "rule": {"event": "Order Completed", "count": {"op": "gte", "value": 3}, "within": {"days": 30}},
    },
    "pro": {
        "name": "On the pro plan",
        "purpose": "personalization",
        "rule": {"trait": "plan", "op": "eq", "value": "pro"},
    },
}


@dataclass
class Scene:
    """The world of this module, and what is known of it from outside over all tests."""

    world: World
    observer: Observer
    ledger: Ledger = field(default_factory=Ledger)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    seed: int = SEED


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with world() as running:
        admin = {"Authorization": f"Bearer {running.tokens['admin']}"}
        for key, definition in SEGMENTS.items():
            answer = httpx.put(
                f"{running.services['segment'].url}/v1/segments/{key}", json=definition, headers=admin
            )
            assert answer.is_success, answer.text
        yield Scene(running, Observer(running.settings))


Fault = Callable[[World, random.Random], Awaitable[None]]


def kill(name: str) -> Fault:
    async def fault(world: World, chance: random.Random) -> None:
        """kill -9 at a random moment; the process manager starts it again."""
        await asyncio.sleep(chance.uniform(0.5, 2))
        await asyncio.to_thread(world.services[name].kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(world.revive)

    return fault


def pause(name: str) -> Fault:
    async def fault(world: World, chance: random.Random) -> None:
        """Stopped past its session, so that its partitions are taken from it; then it wakes: a zombie."""
        service = world.services[name]
        service.signal(signal.SIGSTOP)
        await asyncio.sleep(SESSION_SECONDS + chance.uniform(2, 5))
        service.signal(signal.SIGCONT)
        await asyncio.sleep(2)

    return fault


async def kill_each(world: World, chance: random.Random) -> None:
    """kill -9 of each service in turn, in a random order."""
    for name in chance.sample(PARTS, len(PARTS)):
        await kill(name)(world, chance)


async def pause_all(world: World, chance: random.Random) -> None:
    """All that consume stand still at once, past their sessions, and wake as zombies."""
    await asyncio.gather(*[pause(name)(world, chance) for name in PARTS if name != "ingest"])


async def restart_broker(world: World, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.5, 2))
    await asyncio.to_thread(world.kafka.end, chance.choice([signal.SIGKILL, signal.SIGTERM]))
    await asyncio.sleep(chance.uniform(1, 4))
    await asyncio.to_thread(world.kafka.start)


async def restart_postgres(world: World, chance: random.Random) -> None:
    """An immediate shutdown: no checkpoint, connections cut, recovery from the log."""
    await asyncio.sleep(chance.uniform(0.5, 2))
    await asyncio.to_thread(world.postgres.end, signal.SIGQUIT)
    await asyncio.sleep(chance.uniform(0.5, 2))
    await asyncio.to_thread(world.postgres.start)


SHORT: dict[str, Fault] = {
    "kill each": kill_each,
    "pause all": pause_all,
    "restart Kafka": restart_broker,
    "restart Postgres": restart_postgres,
}
LONG: dict[str, Fault] = {
    **SHORT,
    **{f"kill {name}": kill(name) for name in PARTS},
    **{f"pause {name}": pause(name) for name in PARTS if name != "ingest"},
}


async def under(fault: Fault, scene: Scene, chance: random.Random) -> None:
    """Traffic, the fault, more traffic; then everything must come to rest and add up."""
    scene.seed += 1
    services, tokens = scene.world.services, scene.world.tokens
    traffic = Traffic(
        services["ingest"].url,
        services["consent"].url,
        tokens["demo-web"],
        tokens["demo-server"],
        scene.ledger,
        seed=scene.seed,
    )
    offsets = invariants.Offsets(scene.world)
    offsets.last = scene.offsets
    watching = [asyncio.create_task(scene.observer.run()), asyncio.create_task(offsets.run())]
    sending = asyncio.create_task(traffic.run(pause=0.1))
    try:
        await asyncio.sleep(1)
        await fault(scene.world, chance)
        healed = time.monotonic()
        await asyncio.to_thread(scene.world.revive)
        await asyncio.sleep(2)
        traffic.stop()
        await asyncio.wait_for(sending, 60)
        seconds = await invariants.drained(scene.world, scene.ledger)
        for task in watching:
            if task.done():
                task.result()
        counts = await invariants.check(scene.world, scene.ledger, scene.observer)
        print(f"healed in {time.monotonic() - healed:.1f} s, drained in {seconds:.1f} s: {counts}")
        assert counts["tried_after_opt_out"] > 0, "the run says nothing about opt-outs"
    finally:
        for task in [*watching, sending]:
            task.cancel()
        await asyncio.gather(*watching, sending, return_exceptions=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHORT)
async def test_nothing_is_lost_doubled_or_leaked(scene: Scene, name: str) -> None:
    await under(SHORT[name], scene, random.Random(f"{SEED} {name}"))  # noqa: S311 - repeatable


@pytest.mark.timeout(7200)
@pytest.mark.skipif(not ROUNDS, reason="long: make faults")
async def test_long_random_rounds(scene: Scene) -> None:
    for number in range(ROUNDS):
        chance = random.Random(f"{SEED} round {number}")  # noqa: S311 - repeatable
        name = chance.choice(sorted(LONG))
        print(f"round {number}: {name}")
        await under(LONG[name], scene, chance)
