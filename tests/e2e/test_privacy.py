"""What people may do with their own data, from outside, against a broker whose files can be searched."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.kernel import codec, keys, topics
from services.kernel.events import AuditAct
from services.kernel.identifier import ANONYMOUS_ID, USER_ID
from services.kernel.message import Message
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.tail import held
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

    async def ask(self, type: str, headers: Mapping[str, Any], **more: Any) -> dict[str, Any]:
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


async def test_the_denial_holds_once_an_erasure_is_acknowledged(person: Person) -> None:
    candor = person.candor
    asked = await person.ask("erasure", person.as_link)
    await candor.accepted(
        track(person.user, "After", person.value("m6")),
        {"type": "page", "anonymousId": person.visitor, "messageId": person.value("m7")},
    )
    await candor.passed_by(person.user)
    await person.done(asked["id"], person.as_link)
    for identifier in (f"user_id:{person.user}", f"anonymous_id:{person.visitor}"):
        assert await candor.profile(identifier) is None


async def test_who_comes_back_is_somebody_new_and_replays_stay_dead(person: Person) -> None:
    candor = person.candor
    key = candor.settings.hasher()(USER_ID, person.user)
    before = [record async for record in held(candor.settings, "events.permitted") if record.key == key]
    assert len(before) == 3
    asked = await person.ask("erasure", person.as_link)
    await person.done(asked["id"], person.as_link)
    await candor.decide({"user_id": person.user}, {"*": "grant"})
    producer = BatchProducer(candor.settings, "test")
    await producer.start()
    replayed = [Message(record.key, record.value, record.headers) for record in before]
    await producer.produce("events.collected", None, replayed)
    await producer.stop()
    await candor.accepted(track(person.user, "New", person.value("m8")))
    await eventually(lambda: _counts(person, {"New": 1}))
    await candor.passed_by(person.user)
    profile = await candor.profile(f"user_id:{person.user}")
    assert profile is not None
    assert (profile["traits"], profile["anonymous_ids"]) == ({}, [])
    assert await _counts(person, {"New": 1})
    await candor.command("verify")


async def _counts(person: Person, expected: dict[str, int]) -> bool:
    profile = await person.candor.profile(f"user_id:{person.user}")
    counts = {name: one["count"] for name, one in profile["activity"].items()} if profile else {}
    return counts == expected


async def test_a_visitors_secret_reaches_what_came_under_that_visitor_and_nothing_else(
    person: Person,
) -> None:
    me = (await person.get("/v1/me", person.as_visitor)).json()
    assert me["identifiers"] == [f"anonymous_id:{person.visitor}"]
    assert [receipt["method"] for receipt in me["receipts"]] == ["accept"]
    assert all(choice["allowed"] for choice in me["choices"].values())
    copy = await person.get("/v1/me/copy", person.as_visitor)
    own = {person.value(name) for name in ("anon", "page", "m1", "consenturl")}
    assert marked(copy.text, person.mark) == own
    assert marked((await person.get("/v1/me/copy", person.as_link)).text, person.mark) > own
    whole = await person.ask("access", person.as_link)
    assert (await person.get(f"/v1/privacy/requests/{whole['id']}", person.as_visitor)).status_code == 404
    asked = await person.ask("erasure", person.as_visitor)
    shown = await person.done(asked["id"], person.as_visitor)
    assert {step["service"]: step["counts"] for step in shown["steps"]}["profile"] == {
        "events": 1,
        "facets": 1,
    }
    profile = await person.candor.profile(f"user_id:{person.user}")
    assert profile is not None
    assert profile["traits"]["city"] == person.value("newcity")
    assert "$page" not in profile["activity"]
    assert marked((await person.get("/v1/me/copy", person.as_visitor)).text, person.mark) == {
        person.value("anon")
    }
    await person.candor.command("verify")


async def test_copies_do_not_crowd_out_the_rest(person: Person) -> None:
    asked = [person.get("/v1/me/copy", person.as_link) for _ in range(12)]
    answers = await asyncio.gather(*asked)
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
    assert (await person.get("/v1/me/copy", person.as_link)).status_code == 200


async def test_the_first_secret_stands(person: Person) -> None:
    claim = {"writeKey": person.candor.tokens["demo-web"], "anonymous_id": person.visitor}
    url = person.candor.url("consent", "/v1/visitors")
    for secret, status in ((person.secret, 204), (secrets.token_hex(32), 409), ("short", 400)):
        answer = await person.candor.client.post(url, json=claim | {"secret": secret})
        assert answer.status_code == status, answer.text
    person.secret = secrets.token_hex(32)
    assert (await person.get("/v1/me", person.as_visitor)).status_code == 401
    person.link = person.link[:-4] + "AAAA"
    assert (await person.get("/v1/me/copy", person.as_link)).status_code == 401


async def test_who_has_shown_to_be_a_person_decides_for_that_person_alone(person: Person) -> None:
    url = person.candor.url("consent", "/v1/decisions")
    grant = {"identifiers": {"user_id": person.user}, "purposes": {"marketing": "grant"}}
    assert (await person.candor.client.post(url, json=grant, headers=person.as_visitor)).status_code == 403
    assert (await person.candor.client.post(url, json=grant, headers=person.as_link)).status_code == 200
    other = grant | {"identifiers": {"user_id": person.candor.name("other")}}
    assert (await person.candor.client.post(url, json=other, headers=person.as_link)).status_code == 403
    me = (await person.get("/v1/me", person.as_link)).json()
    assert me["choices"]["marketing"]["because"] == "granted"
    position = me["receipts"][-1]["position"]
    receipt = await person.get(f"/v1/me/receipts/{position}", person.as_link)
    assert receipt.json()["record_metadata"]["record_id"] == str(position)
    assert (await person.get(f"/v1/me/receipts/{position}", person.as_visitor)).status_code == 404


async def test_what_a_person_puts_right_stays_right(person: Person) -> None:
    right = person.value("rightcity")
    headers = {**person.as_link, "X-Candor-Reason": "Änderung".encode()}
    asked = await person.ask("rectification", headers, traits={"city": right, "n": None})
    assert asked["state"] == "done"
    reasons = [
        act.why
        async for record in held(person.candor.settings, "audit.acts")
        if (act := codec.decode(AuditAct, record.value)).target == asked["id"] and act.service == "profile"
    ]
    assert reasons == ["Änderung"]
    late = {"type": "identify", "userId": person.user, "timestamp": "2020-01-01T00:00:00Z"}
    await person.candor.accepted({**late, "messageId": person.value("m9"), "traits": {"city": "Old", "z": 1}})

    async def has_late() -> bool:
        profile = await person.candor.profile(f"user_id:{person.user}")
        return profile is not None and "z" in profile["traits"]

    await eventually(has_late)
    explained = await person.candor.client.get(
        person.candor.url("profile", f"/v1/profiles/user_id:{person.user}?explain=1"),
        headers=person.candor.bearer(),
    )
    city = explained.json()["explain"]["city"]
    assert (city["value"], city["source"]) == (right, "candor.rectification")
    assert "n" not in explained.json()["traits"]
    assert right in marked((await person.get("/v1/me/copy", person.as_link)).text, person.mark)
    await person.candor.command("verify")


@pytest.mark.parametrize("traits", [{"a": "nul \0"}, {"a": 10**20}, {str(n): 1 for n in range(1001)}])
async def test_what_no_event_may_hold_no_person_puts_there(person: Person, traits: dict[str, Any]) -> None:
    answer = await person.candor.client.post(
        person.candor.url("consent", "/v1/privacy/requests"),
        json={"type": "rectification", "traits": traits},
        headers=person.as_link,
    )
    assert answer.status_code == 400, answer.text


async def test_no_key_does_what_services_ask_each_other(candor: Outside) -> None:
    for key in ("admin", "demo-server"):
        for service, paths in (
            ("profile", ("person", "copy", "rectification")),
            ("segment", ("copy",)),
            ("ingest", ("copy",)),
        ):
            for path in paths:
                answer = await candor.client.post(
                    candor.url(service, f"/v1/privacy/{path}"), json={}, headers=candor.bearer(key)
                )
                assert answer.status_code == 403, (key, service, path)


async def test_a_restriction_denies_everything_and_deletes_nothing(person: Person) -> None:
    asked = await person.ask("restriction", person.as_link)
    shown = await person.done(asked["id"], person.as_link)
    assert [step["service"] for step in shown["steps"]] == ["consent"]
    await person.candor.accepted(track(person.user, "After", person.value("m6")))
    await person.candor.passed_by(person.user)
    profile = await person.candor.profile(f"user_id:{person.user}")
    assert profile is not None
    assert (profile["traits"]["city"], profile["purposes"]) == (person.value("newcity"), [])
    assert "After" not in profile["activity"]


async def test_a_step_that_fails_is_tried_again_alone(person: Person) -> None:
    segment = person.candor.services["segment"]
    await asyncio.to_thread(segment.stop)
    try:
        asked = await person.ask(
            "erasure", person.candor.bearer("demo-server"), identifiers={"user_id": person.user}
        )
        left = {"segment"}

        async def others_done() -> bool:
            shown = (await person.get(f"/v1/privacy/requests/{asked['id']}", person.candor.bearer())).json()
            assert shown["state"] == "open"
            return {step["service"] for step in shown["steps"] if step["state"] != "done"} == left

        await eventually(others_done)
    finally:
        segment.start()
        await asyncio.to_thread(segment.wait_ready)
    await person.done(asked["id"], person.candor.bearer())


async def test_all_that_is_read_and_done_is_in_the_audit_log_and_nobody_in_the_others(person: Person) -> None:
    candor = person.candor
    await person.get("/v1/me", person.as_visitor)
    await person.get("/v1/me/copy", person.as_link)
    asked = await person.ask("erasure", person.as_link)
    await person.done(asked["id"], person.as_link)
    hasher = candor.settings.hasher()
    user, visitor = hasher(USER_ID, person.user), hasher(ANONYMOUS_ID, person.visitor)
    seen = set()
    async for record in held(candor.settings, "audit.acts"):
        act = codec.decode(AuditAct, record.value)
        if {user, visitor} & set(act.identifiers) or act.target == asked["id"]:
            seen.add((act.service, act.actor, act.action))
    assert seen >= {
        ("consent", "visitor", "me.read"),
        ("consent", "link", "me.copy"),
        ("profile", "link", "privacy.copy"),
        ("ingest", "link", "privacy.copy"),
        ("consent", "demo-server", "privacy.link"),
        ("consent", "link", "privacy.request"),
        ("consent", "link", "privacy.read"),
    }
    assert where(candor.settings.home, person.mark) == []
    await candor.command("verify")  # the ledger is whole though records were erased from it


# The last one: from then on topics keep nothing for long.
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
