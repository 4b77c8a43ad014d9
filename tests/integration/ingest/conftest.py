"""One ingest process a module; keys and a look at its topics a test."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from services.kernel import keys
from services.kernel.settings import Settings
from tests.integration.ingest.world import TOPICS, Keys, World
from tests.support.policy import OPT_OUT
from tests.support.ports import free_port
from tests.support.services import Service, services


@pytest.fixture(scope="module")
def own(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings for the ingest service of this module; it needs no Postgres."""
    home = tmp_path_factory.mktemp("ingest")
    return Settings(
        identifier_key=bytes(32),
        postgres_password="unused",
        kafka=kafka,
        topic_prefix=f"test-{secrets.token_hex(6)}.",
        ingest_port=free_port(),
        home=home,
        keyring=home / "keyring.json",
        policy=OPT_OUT,
        plan=home / "plan.yaml",
    )


@pytest.fixture(scope="module")
def unused(own: Settings) -> Iterator[Keys]:
    """Keys for one test after the other, many made at once: the service reads the keyring once a second."""
    return _made(own)


def _made(settings: Settings) -> Iterator[Keys]:
    while True:
        made = []
        for _ in range(32):
            source = secrets.token_hex(4)
            made.append(
                Keys(
                    source,
                    web=keys.create(settings.keyring, f"web-{source}", "write", f"web-{source}"),
                    server=keys.create(settings.keyring, f"server-{source}", "server", f"shop-{source}"),
                    admin=keys.create(settings.keyring, f"admin-{source}", "admin"),
                )
            )
        yield from made


@pytest.fixture(scope="module")
def service(own: Settings) -> Iterator[Service]:
    with services(own, ("ingest",)) as started:
        yield started["ingest"]
    asyncio.run(_delete_topics(own))


async def _delete_topics(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    await admin.delete_topics([settings.topic(topic) for topic in TOPICS])
    await admin.close()


@pytest.fixture
async def world(own: Settings, service: Service, unused: Iterator[Keys]) -> AsyncIterator[World]:
    consumer = AIOKafkaConsumer(bootstrap_servers=own.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            world = World(service, client, consumer, own, next(unused))
            world.since = {topic: await world.ends(topic) for topic in TOPICS}
            await _key_is_known(world)
            yield world
    finally:
        await consumer.stop()


async def _key_is_known(world: World) -> None:
    """The service reads the keyring once a second."""
    while (await world.post("/v1/batch", {"batch": []}, key=world.server)).status_code == 401:
        pass
