"""Scheduled jobs: Faust runs them inside our loop; when it can not, the sweep does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.kernel.health import Health
from services.kernel.outcome import Outage
from services.kernel.schedule import Schedule
from services.kernel.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(identifier_key=bytes(16), postgres_password="", home=tmp_path, kafka="127.0.0.1:1")


@asynccontextmanager
async def running(schedule: Schedule) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(schedule.run())
        yield
        task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def test_jobs_run_again_and_again_without_a_broker(settings: Settings) -> None:
    health, turns = Health("consent"), []
    schedule = Schedule(settings, "consent", health)

    async def job() -> None:
        turns.append(1)

    schedule.every(0.05, "count", job)
    assert not health.ready
    async with running(schedule):
        await until(lambda: len(turns) >= 3)
        assert health.ready
    done = len(turns)
    await asyncio.sleep(0.2)
    assert len(turns) == done


async def test_a_crash_of_faust_is_red_and_the_sweep_carries_on(settings: Settings) -> None:
    health, turns = Health("consent"), []
    schedule = Schedule(settings, "consent", health)

    async def fails_once() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise ValueError

    schedule.every(0.1, "fails", fails_once)
    async with running(schedule):
        await until(lambda: len(turns) >= 2)
        assert health.reasons() == {"schedule": "Faust: ValueError"}


async def test_an_outage_is_tried_again_at_the_next_turn(settings: Settings) -> None:
    health, reasons = Health("consent"), []
    schedule = Schedule(settings, "consent", health)

    async def job() -> None:
        reasons.append(health.reasons())
        if len(reasons) < 3:
            raise Outage("Postgres is away")

    schedule.every(0.05, "count", job)
    async with running(schedule):
        await until(lambda: len(reasons) >= 4)
        assert reasons[1:4] == [{"job count": "Outage"}, {"job count": "Outage"}, {}]
        assert health.ready
