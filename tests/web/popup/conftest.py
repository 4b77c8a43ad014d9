"""One consent and one ingest service, and one browser, for all tests of the pop-up."""

from __future__ import annotations

import asyncio
import copy
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.consent.tag import LIBRARY, WEB
from services.kernel import codec, keys, topics
from services.kernel.events import Event
from services.kernel.settings import ROOT, Settings
from tests.support import stack
from tests.support.node import INSTALLED, NODE
from tests.support.services import services
from tests.web.popup.browser import Browser, running_browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not (INSTALLED.exists() and NODE.exists() and (WEB / LIBRARY).exists()):
        missing = pytest.mark.skip(
            reason="npm's packages are not installed: make test does that where it can"
        )
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(missing)


@dataclass(frozen=True)
class Shop:
    """The services, a browser, and the policy that people are asked by."""

    settings: Settings
    tokens: dict[str, str]
    browser: Browser
    consent: str
    ingest: str

    def policy(self) -> dict[str, Any]:
        read: dict[str, Any] = yaml.safe_load(self.settings.policy.read_text())
        return read

    def texts(self, language: str) -> dict[str, str]:
        """The words of the layers."""
        banner: dict[str, str] = self.policy()["texts"][language]["banner"]
        return banner

    def set_policy(self, policy: dict[str, Any]) -> None:
        """Put it in force: at the latest two seconds later it is."""
        partial = self.settings.policy.with_suffix(".new")
        partial.write_text(yaml.safe_dump(policy, allow_unicode=True, sort_keys=False))
        partial.replace(self.settings.policy)
        version = policy["version"]
        while httpx.get(f"{self.consent}/v1/policy").json()["version"] != version:
            pass

    def ledger(self, anonymous_id: str) -> list[dict[str, Any]]:
        """The decisions on record of a visitor."""
        headers = {"Authorization": f"Bearer {self.tokens['admin']}"}
        answer = httpx.get(f"{self.consent}/v1/ledger/anonymous_id:{anonymous_id}", headers=headers)
        decisions: list[dict[str, Any]] = answer.raise_for_status().json()["decisions"]
        return decisions

    def decided(self, anonymous_id: str) -> dict[str, bool]:
        """What holds for a visitor by purpose, for the gate as for anybody."""
        headers = {"Authorization": f"Bearer {self.tokens['admin']}"}
        answer = httpx.get(f"{self.consent}/v1/decisions/anonymous_id:{anonymous_id}", headers=headers)
        purposes = answer.raise_for_status().json()["purposes"]
        return {name: held["allowed"] for name, held in purposes.items()}

    def ends(self, topic: str) -> dict[str, int]:
        return asyncio.run(self._ends(topic))

    def permitted(self, anonymous_id: str, count: int) -> list[dict[str, Any]]:
        """The visitor's events that the gate let through, in their order: so many, and no more by then."""
        found = asyncio.run(asyncio.wait_for(self._permitted(anonymous_id, count), 20))
        assert len(found) == count
        return found

    async def _ends(self, topic: str) -> dict[str, int]:
        async with self._consumer() as (consumer, partitions):
            ends = await consumer.end_offsets(partitions(topic))
            return {str(partition): end for partition, end in ends.items()}

    async def _permitted(self, anonymous_id: str, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with self._consumer() as (consumer, partitions):
            consumer.assign(partitions("events.permitted"))
            await consumer.seek_to_beginning()
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    events = [codec.decode(Event, record.value) for record in records]
                    found += [
                        json.loads(event.payload) for event in events if event.anonymous_id == anonymous_id
                    ]
        return found

    @asynccontextmanager
    async def _consumer(
        self,
    ) -> AsyncIterator[tuple[AIOKafkaConsumer, Callable[[str], list[TopicPartition]]]]:
        def partitions(topic: str) -> list[TopicPartition]:
            count = topics.registry()[topic].partitions
            return [TopicPartition(self.settings.topic(topic), number) for number in range(count)]

        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka, enable_auto_commit=False)
        await consumer.start()
        try:
            yield consumer, partitions
        finally:
            await consumer.stop()


@pytest.fixture(scope="session")
def shop(
    kafka: str, postgres: stack.Postgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("popup")
    with postgres.new_database(template) as database:
        settings = stack.settings_for(home, kafka, database, f"popup-{secrets.token_hex(4)}.")
        settings = replace(settings, policy=home / "policy.yaml")
        policy = yaml.safe_load((ROOT / "deploy" / "policy.yaml").read_text())
        settings.policy.write_text(yaml.safe_dump(with_arabic(policy), allow_unicode=True, sort_keys=False))
        asyncio.run(topics.ensure(settings))
        tokens = keys.ensure_default_keys(settings)
        with services(settings, ("ingest", "consent")) as started:
            addresses = (started["consent"].url, started["ingest"].url)
            with running_browser(*addresses, tokens["demo-web"]) as browser:
                yield Shop(settings, tokens, browser, *addresses)


def with_arabic(policy: dict[str, Any]) -> dict[str, Any]:
    """A policy with a language that is read from right to left: English words, some of them not."""

    def widened(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        wider = {name: widened(member) for name, member in value.items()}
        return {**wider, "ar": copy.deepcopy(wider["en"])} if "en" in wider else wider

    wide: dict[str, Any] = widened(policy)
    wide["sources"]["demo-web"] = {"jurisdiction": "DE"}
    wide["texts"]["ar"] = {**wide["texts"]["ar"], "direction": "rtl"}
    wide["texts"]["ar"]["banner"] = {
        "title": "بياناتك، قرارك",
        "body": "نود استخدام بيانات زيارتك للأغراض المذكورة أدناه. القرار لك، ويمكنك تغييره في أي وقت.",
        "accept": "قبول الكل",
        "reject": "رفض الكل",
        "choose": "الاختيار بالتفصيل",
        "save": "حفظ اختياري",
        "close": "إغلاق",
        "reopen": "خيارات الخصوصية",
        "gpc": "يطلب متصفحك عدم تتبعك، ونحن نلتزم بذلك.",
        "more": "ماذا نجمع ولماذا",
    }
    purposes = {
        "analytics": ("إحصاءات", "لنفهم كيف يُستخدم متجرنا ونصلح ما لا يعمل."),
        "personalization": ("تخصيص", "لنعرض لك ما يناسبك."),
        "marketing": ("تسويق", "لنراسلك ونختار الإعلانات التي تراها."),
    }
    for purpose, (name, description) in purposes.items():
        wide["texts"]["ar"]["purposes"][purpose] = {"name": name, "description": description}
    return wide
