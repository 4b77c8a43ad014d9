"""Real servers for the tests that touch them: started once a session, or those that the environment names.

CANDOR_TEST_KAFKA (host:port) and CANDOR_TEST_POSTGRES_DSN (postgresql://…, a role that may create databases)
spare the start while developing. With xdist all workers share those that the controller started.
"""

import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from services.kernel.settings import Settings
from tests.support import stack


def pytest_configure() -> None:
    """Settings of the whole run."""
    # SIGTERM ends it as Ctrl-C does, so that the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A busy machine is slow, which proves nothing about the code.
    patient: dict[str, Any] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    # The same code gets the same answer; what nobody thought of yet is looked for by `make faults`.
    hypothesis.settings.register_profile("candor", **patient, derandomize=True)
    hypothesis.settings.register_profile("explore", **patient, max_examples=2000, print_blob=True)
    hypothesis.settings.load_profile(os.environ.get("CANDOR_HYPOTHESIS", "candor"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start what xdist's workers share before they are: they find it in their environment."""
    if not session.config.getoption("numprocesses", None):
        return
    servers = ExitStack()
    session.config.add_cleanup(servers.close)
    if "CANDOR_TEST_KAFKA" not in os.environ:
        os.environ["CANDOR_TEST_KAFKA"] = servers.enter_context(stack.kafka_server())
    if "CANDOR_TEST_POSTGRES_DSN" not in os.environ:
        os.environ["CANDOR_TEST_POSTGRES_DSN"] = servers.enter_context(stack.postgres_server()).dsn


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of a broker."""
    if address := os.environ.get("CANDOR_TEST_KAFKA"):
        yield address
    else:
        with stack.kafka_server() as address:
            yield address


@pytest.fixture(scope="session")
def postgres() -> Iterator[stack.Postgres]:
    """A PostgreSQL and a role that may create databases."""
    if dsn := os.environ.get("CANDOR_TEST_POSTGRES_DSN"):
        yield stack.Postgres.from_dsn(dsn)
    else:
        with stack.postgres_server() as server:
            yield server


@pytest.fixture(scope="session")
def template(postgres: stack.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a database with every migration applied, which nobody connects to."""
    with postgres.new_database() as migrated:
        stack.migrate_all(stack.settings_for(tmp_path_factory.mktemp("template"), "", migrated))
        yield migrated.database


@pytest.fixture
def database(postgres: stack.Postgres, template: str) -> Iterator[stack.Postgres]:
    """A migrated database of the test's own."""
    with postgres.new_database(template) as database:
        yield database


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test uses; no topic has it yet."""
    return f"test-{secrets.token_hex(6)}."


@pytest.fixture
async def settings(
    tmp_path: Path, kafka: str, database: stack.Postgres, topic_prefix: str
) -> AsyncIterator[Settings]:
    """Settings with a database and topics of the test's own."""
    settings = stack.settings_for(tmp_path, kafka, database, topic_prefix)
    async with stack.topics_of(settings):
        yield settings
