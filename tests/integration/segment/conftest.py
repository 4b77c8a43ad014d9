from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kernel.postgres import Pool, connect
from services.kernel.settings import Settings
from tests.integration.segment.world import World
from tests.support import stack
from tests.support.clock import ManualClock


@pytest.fixture
def alone(tmp_path: Path, database: stack.Postgres) -> Settings:
    """Settings with a database of the test's own and without Kafka."""
    return stack.settings_for(tmp_path, "127.0.0.1:1", database)


@pytest.fixture
async def pool(alone: Settings) -> AsyncIterator[Pool]:
    pool = await connect(alone, "segment")
    yield pool
    await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(alone: Settings, pool: Pool, clock: ManualClock) -> World:
    """A process that holds all partitions."""
    world = World(alone, pool, clock)
    await world.take_all()
    return world
