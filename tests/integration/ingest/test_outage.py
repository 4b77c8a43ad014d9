"""Ingest while Kafka is away: 503 and nothing else, in bounded memory, and it goes on by itself after."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from services.kernel import keys
from services.kernel.settings import Settings
from tests.support.broker import Broker
from tests.support.policy import OPT_OUT
from tests.support.ports import free_port
from tests.support.services import Service, services

MEBIBYTE = 1024 * 1024


@pytest.fixture
def broker() -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="candor-test-", ignore_cleanup_errors=True) as folder:
        broker = Broker(Path(folder))
        broker.start()
        yield broker
        broker.stop()


@pytest.fixture
def own(broker: Broker, tmp_path: Path) -> Settings:
    return Settings(
        identifier_key=bytes(32),
        postgres_password="unused",
        kafka=broker.address,
        ingest_port=free_port(),
        home=tmp_path,
        keyring=tmp_path / "keyring.json",
        policy=OPT_OUT,
    )


@pytest.fixture
def service(own: Settings) -> Iterator[Service]:
    with services(own, ("ingest",)) as started:
        yield started["ingest"]


async def _answered(client: httpx.AsyncClient, status: int, body: bytes) -> httpx.Response:
    """Ask until the answer has that status."""
    async with asyncio.timeout(60):
        while (answer := await client.post("/v1/batch", content=body)).status_code != status:
            await asyncio.sleep(0.2)
    return answer


@pytest.mark.timeout(240)
async def test_an_outage_is_a_503_in_bounded_memory_and_passes(
    broker: Broker, own: Settings, service: Service
) -> None:
    key = keys.create(own.keyring, "server", "server", "shop")
    call = {"type": "track", "event": "Viewed", "userId": "u", "properties": {"x": "y" * 1_000}}
    body = json.dumps({"batch": [call] * 400, "writeKey": key}).encode()
    limits = httpx.Limits(max_connections=250)
    async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits) as client:
        await _answered(client, 200, body)
        before = psutil.Process(service.pid).memory_info().rss
        await asyncio.to_thread(broker.stop)
        answers = await asyncio.gather(*(client.post("/v1/batch", content=body) for _ in range(250)))
        assert {answer.status_code for answer in answers} == {503}
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        assert psutil.Process(service.pid).memory_info().rss - before < 250 * MEBIBYTE
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.post("/v1/batch", content=b"{")).status_code == 400
        await asyncio.to_thread(broker.start)
        await _answered(client, 200, body)
        assert (await client.get("/health/ready")).status_code == 200
    assert service.stop() == 0
