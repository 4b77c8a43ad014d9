"""What a visitor meets, running: the services, the demo's shop and a browser, for all tests here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.demo.segments import PROBED, SEGMENTS
from deploy.demo.storefront import SDK
from services.consent.tag import LIBRARY, WEB
from services.kernel import keys, topics
from services.kernel.settings import ROOT
from tests.support import stack
from tests.support.node import INSTALLED, NODE
from tests.support.services import services
from tests.web.popup.browser import running_browser
from tests.web.site import Site, storefront

FOLDERS = [Path(__file__).with_name(name) for name in ("pages", "shop")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not all(path.exists() for path in (INSTALLED, NODE, WEB / LIBRARY, SDK)):
        missing = pytest.mark.skip(
            reason="npm's packages are not installed: make test does that where it can"
        )
        for item in items:
            if item.path.parent in FOLDERS:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def site(
    kafka: str, postgres: stack.Postgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("web")
    with postgres.new_database(template) as database:
        settings = stack.settings_for(home, kafka, database, f"web-{secrets.token_hex(4)}.")
        settings = replace(settings, policy=ROOT / "deploy" / "policy.yaml")
        asyncio.run(topics.ensure(settings))
        tokens = keys.ensure_default_keys(settings)
        with services(settings) as started:
            addresses = (started["consent"].url, started["ingest"].url)
            with running_browser(*addresses, tokens["demo-web"]) as browser, storefront(settings) as shop:
                site = Site(settings, started, tokens, browser, shop)
                site.define(next(segment for segment in SEGMENTS if segment.key == PROBED))
                yield site
