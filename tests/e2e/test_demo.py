"""The demo as a newcomer runs it, and once more on what the first run left behind."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deploy.demo.storefront import SDK
from services.kernel.settings import ROOT, SERVICES, Settings
from tests.support.ports import free_port

Candor = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def shop_port() -> int:
    return free_port()


@pytest.fixture
def candor(settings: Settings, tmp_path: Path, shop_port: int) -> Iterator[Candor]:
    """Runs the command line against the test's own topics, database and ports; stops what it started."""
    environment = {
        **os.environ,
        "CANDOR_HOME": str(tmp_path),
        "CANDOR_KEYRING": str(settings.keyring),
        "CANDOR_IDENTIFIER_KEY": settings.identifier_key.hex(),
        "CANDOR_KAFKA": settings.kafka,
        "CANDOR_TOPIC_PREFIX": settings.topic_prefix,
        "CANDOR_POSTGRES_HOST": settings.postgres_host,
        "CANDOR_POSTGRES_PORT": str(settings.postgres_port),
        "CANDOR_POSTGRES_USER": settings.postgres_user,
        "CANDOR_POSTGRES_PASSWORD": settings.postgres_password,
        "CANDOR_POSTGRES_DATABASE": settings.postgres_database,
        "CANDOR_SHOP_PORT": str(shop_port),
        **{f"CANDOR_{name.upper()}_PORT": str(settings.port(name)) for name in SERVICES},
    }

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from services.cli import main; main()", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("down")


def figure(output: str, label: str) -> int:
    found = re.search(rf"^  {re.escape(label)} +([\d,]+)", output, re.MULTILINE)
    assert found, f"no line {label!r} in:\n{output}"
    return int(found[1].replace(",", ""))


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_the_demo_adds_up_and_may_be_run_again(candor: Candor, shop_port: int) -> None:
    first = candor("demo")
    assert first.returncode == 0, first.stdout + first.stderr
    shop = f"http://127.0.0.1:{shop_port}"
    if SDK.exists():
        assert f"Open   {shop} " in first.stdout
        assert "Groove" in httpx.get(shop).text
    else:
        assert shop not in first.stdout and "closed: npm could not fetch" in first.stdout
    assert re.search(r"^All \d+ checks passed in ", first.stdout, re.MULTILINE)
    parts = [figure(first.stdout, label) for label in ("= applied", "+ repeats", "+ dropped", "+ bad")]
    assert figure(first.stdout, "accepted") == sum(parts)
    assert figure(first.stdout, "came through after an opt-out") == 0
    assert "were here before" not in first.stdout

    again = candor("demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{figure(first.stdout, 'people'):,} more were here before" in again.stdout
