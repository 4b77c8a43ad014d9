"""One whole Candor for the tests that look at it from outside only."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.kernel import keys, topics
from tests.support import stack
from tests.support.outside import Outside
from tests.support.services import services


@pytest.fixture(scope="module")
def running(
    kafka: str, postgres: stack.Postgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outside]:
    """The four services as real processes, on topics and a database of the module's own."""
    home: Path = tmp_path_factory.mktemp("candor")
    with postgres.new_database(template) as database:
        settings = stack.settings_for(home, kafka, database, f"e2e-{secrets.token_hex(4)}.")
        asyncio.run(topics.ensure(settings))
        tokens = keys.ensure_default_keys(settings)
        with services(settings) as started:
            yield Outside(settings, started, tokens)


@pytest.fixture
async def candor(running: Outside) -> AsyncIterator[Outside]:
    """The same with a connected client; people and segments are the test's own by their random names."""
    async with running.connected():
        yield running
