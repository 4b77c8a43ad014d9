"""What people may do with their own data, from outside, against a broker whose files can be searched."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.kernel import keys, topics
from services.kernel.settings import Settings
from tests.support import stack
from tests.support.broker import Broker
from tests.support.outside import Outside, eventually, track
from tests.support.services import services
from tests.support.stores import in_files, in_tables, marked, where

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

SHORT = {
    "delete": {"retention.ms": "1000"},
    "compact": {"max.compaction.lag.ms": "1000", "delete.retention.ms": "1000"},
    "both": {"segment.ms": "1000", "file.delete.delay.ms": "1000"},
}
"""The horizon, shortened."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("privacy")


@pytest.fixture(scope="module")
def running(folder: Path, postgres: stack.Postgres, template: str) -> Iterator[Outside]:
    """The four services on a broker of their own, which keeps everything in ``folder / "kafka"``."""
    broker = Broker(folder)
    broker.start()
    try:
        with postgres.new_database(template) as database:
            settings = stack.settings_for(folder / "home", broker.address, database)
            settings.home.mkdir()
            asyncio.run(topics.ensure(settings))
            tokens = keys.ensure_default_keys(settings)
            with services(settings) as started:
                yield Outside(settings, started, tokens)
    finally:
        broker.stop()


@pytest.fixture
async def candor(running: Outside) -> AsyncIterator[Outside]:
    async with running.connected():
        yield running


class Person:
    """Somebody with a visitor's secret, a link, and a mark in every value that was told of them."""

    def __init__(self, candor: Outside) -> None:
        self.candor = candor
        self.mark = f"zq{secrets.token_hex(5)}"
        self.user, self.visitor = self.value("user"), self.value("anon")
        self.secret = secrets.token_hex(32)
        self.link = ""

    def value(self, name: str) -> str:
        return f"{self.mark}-{name}z"

    @property
    def as_visitor(self) -> dict[str, str]:
        encoded = base64.urlsafe_b64encode(self.visitor.encode()).decode().rstrip("=")
        return {"Authorization": f"Visitor {encoded}.{self.secret}"}

    @property
    def as_link(self) -> dict[str, str]:
        return {"Authorization": f"Link {self.link}"}

    async def browse(self) -> None:
        """Come without a name, decide, log in, tell of oneself, buy, and send something broken."""
        candor, value = self.candor, self.value
        decision = {
            "writeKey": candor.tokens["demo-web"],
            "identifiers": {"anonymous_id": self.visitor},
            "purposes": {"*": "grant"},
            "method": "accept",
            "id": secrets.token_hex(8),
            "url": f"https://shop.example/{value('consenturl')}",
            "secret": self.secret,
        }
        answer = await candor.client.post(candor.url("consent", "/v1/decisions"), json=decision)
        assert answer.status_code == 200, answer.text
        page = {"type": "page", "anonymousId": self.visitor, "messageId": value("m1"), "name": value("page")}
        await candor.accepted(page)
        identify = {
            "type": "identify",
            "userId": self.user,
            "anonymousId": self.visitor,
            "messageId": value("m2"),
            "traits": {
                "email": f"{value('mail')}@example.org",
                "city": value("oldcity"),
                "n": [value("list")],
            },
        }
        order = track(self.user, "Order", value("m4"), properties={"total": 12.5, "item": value("item")})
        await candor.accepted(identify)
        again = {**identify, "messageId": value("m3"), "traits": {"city": value("newcity")}}
        await candor.accepted(again, order)
        broken = {
            "type": "track",
            "userId": self.user,
            "messageId": value("m5"),
            "properties": {"x": value("broken")},
        }
        await candor.accepted(broken)  # without a name: a dead letter
        await eventually(self._bought)
        answer = await candor.client.post(
            candor.url("consent", "/v1/privacy/links"),
            json={"identifiers": {"user_id": self.user}, "days": 1},
            headers=candor.bearer("demo-server"),
        )
        assert answer.status_code == 200, answer.text
        self.link = answer.json()["token"]

    async def _bought(self) -> bool:
        profile = await self.candor.profile(f"user_id:{self.user}")
        return (
            profile is not None
            and "Order" in profile["activity"]
            and profile["anonymous_ids"] == [self.visitor]
        )

    async def get(self, path: str, headers: dict[str, str]) -> Any:
        return await self.candor.client.get(self.candor.url("consent", path), headers=headers)

    async def ask(self, type: str, headers: dict[str, str], **more: Any) -> dict[str, Any]:
        """A request, acknowledged."""
        answer = await self.candor.client.post(
            self.candor.url("consent", "/v1/privacy/requests"), json={"type": type, **more}, headers=headers
        )
        assert answer.status_code == 202, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def done(self, id: str, headers: dict[str, str], seconds: float = 60) -> dict[str, Any]:
        """The request once all its steps are done."""
        shown: dict[str, Any] = {}

        async def is_done() -> bool:
            answer = await self.get(f"/v1/privacy/requests/{id}", headers)
            assert answer.status_code == 200, answer.text
            shown.update(answer.json())
            return bool(shown["state"] == "done")

        await eventually(is_done, seconds)
        return shown


@pytest.fixture
async def person(candor: Outside) -> Person:
    person = Person(candor)
    await person.browse()
    return person


async def test_a_copy_equals_an_independent_search_of_every_store(person: Person, folder: Path) -> None:
    segment = await person.candor.segment({"trait": "city", "op": "exists"})
    await eventually(lambda: _is_member(person, segment))
    in_postgres = in_tables(person.candor.settings, person.mark)
    stored = set().union(*in_postgres.values()) | in_files(folder / "kafka", person.mark)
    assert {"profile", "segment", "consent"} <= {table.partition(".")[0] for table in in_postgres}
    told = ("user", "anon", "page", "mail", "oldcity", "newcity", "list", "item", "broken", "consenturl")
    assert {person.value(name) for name in told} <= stored
    copy = await person.get("/v1/me/copy", person.as_link)
    assert copy.status_code == 200, copy.text
    assert marked(copy.text, person.mark) == stored
    page = await person.get("/v1/me/copy.html", person.as_link)
    assert marked(page.text, person.mark) == stored
    assert page.headers["content-type"].startswith("text/html")
    for name, part in copy.json()["services"].items():
        for value in part["values"]:
            assert value.keys() == {"what", "value", "source", "time", "purposes"}, name
            assert value["source"] and value["time"], value


async def _is_member(person: Person, segment: str) -> bool:
    return person.user in await person.candor.members(segment)


async def test_after_an_erasure_and_the_horizon_an_independent_search_finds_nothing(
    person: Person, folder: Path
) -> None:
    candor = person.candor
    segment = await candor.segment({"trait": "city", "op": "exists"})
    await eventually(lambda: _is_member(person, segment))
    asked = await person.ask("erasure", person.as_link)
    shown = await person.done(asked["id"], person.as_link)
    assert [step["service"] for step in shown["steps"]] == ["consent", "profile", "segment", "ingest"]
    counts = {step["service"]: step["counts"] for step in shown["steps"]}
    assert counts == {
        "consent": {"records": 1},
        "profile": {"events": 4, "facets": 2},
        "segment": {"copies": 2},
        "ingest": {"dead_letters": 1},
    }
    # At once: no table holds anything.
    assert in_tables(candor.settings, person.mark) == {}
    # Until the horizon: where the request says, and nowhere else.
    said = {one["where"].removeprefix("Kafka: ") for one in shown["remains"] if one["until"] is not None}
    assert {file.split("/")[1].rpartition("-")[0] for file in where(folder / "kafka", person.mark)} <= said
    await _horizon(candor.settings)
    waited = 0
    while left := where(folder, person.mark):
        waited += 1
        assert waited < 200, left
        await asyncio.sleep(1)


async def _horizon(settings: Settings) -> None:
    """Let it come now: topics keep for a second what they keep for days, and the tombstones that are written
    again once a segment's time has passed are written."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        resources = []
        for name, topic in topics.registry().items():
            policy = str(topic.config["cleanup.policy"])
            config = {key: str(value) for key, value in topic.config.items()} | SHORT[policy] | SHORT["both"]
            resources.append(ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), configs=config))
        await admin.alter_configs(resources)
    finally:
        await admin.close()
    with psycopg.connect(
        host=settings.postgres_host, port=settings.postgres_port, user=settings.postgres_user,
        password=settings.postgres_password, dbname=settings.postgres_database,
    ) as connection:  # fmt: skip
        connection.execute("UPDATE profile.erased SET again_at = 0")
