"""The JavaScript SDKs of Segment and RudderStack, unmodified, on Node and in a real Chromium: each call
arrives, once and whole. tests/sdk has them, and what they are asked to do."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.ingest.sdk_calls import Arrived, arrived, check_server_calls
from tests.integration.ingest.world import World
from tests.support.node import FOLDER, INSTALLED, NODE, chromium_or_skip, node_environment

OTHERS = ("@customerio/cdp-analytics-node", "@expo/rudder-sdk-node", "analytics-node")

PATIENCE_SECONDS = 150
"""A browser beside other tests has been seen to take a minute."""

pytestmark = [
    pytest.mark.skipif(
        not (INSTALLED.exists() and NODE.exists()),
        reason="the JavaScript SDKs are not installed: make test does that, where npm can be reached",
    ),
    pytest.mark.timeout(PATIENCE_SECONDS + 30),
]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with node_environment() as environment:
        yield environment


@pytest.fixture(scope="module")
def chromium() -> str:
    return chromium_or_skip()


async def play(environment: dict[str, str], script: str, *arguments: str) -> dict[str, Any]:
    """What the script says once it is through."""
    command = [str(NODE), str(FOLDER / script), *arguments]
    output = await asyncio.to_thread(
        lambda: subprocess.check_output(command, env=environment, timeout=PATIENCE_SECONDS, text=True)
    )
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    return said


async def test_segments_sdk_for_node(world: World, environment: dict[str, str]) -> None:
    said = await play(environment, "analytics_node.mjs", world.service.url, world.server)
    assert said == {"errors": []}
    found = await arrived(world)
    check_server_calls(found, "@segment/analytics-node")


async def test_segments_sdk_for_node_reports_a_refusal(world: World, environment: dict[str, str]) -> None:
    said = await play(environment, "analytics_node.mjs", world.service.url, "candor_wrong")
    assert len(said["errors"]) == 6
    assert await world.events() == []


async def test_rudderstacks_sdk_for_node(world: World, environment: dict[str, str]) -> None:
    said = await play(environment, "rudder_node.mjs", world.service.url, world.server)
    assert said == {"errors": []}
    check_server_calls(await arrived(world), "analytics-node")


async def test_rudderstacks_sdk_for_node_reports_a_refusal(world: World, environment: dict[str, str]) -> None:
    said = await play(environment, "rudder_node.mjs", world.service.url, "candor_wrong")
    assert said["errors"] and set(said["errors"]) == {401}
    assert await world.events() == []


@pytest.mark.parametrize("sdk", OTHERS)
async def test_other_sdks_for_node(world: World, environment: dict[str, str], sdk: str) -> None:
    said = await play(environment, "other_node.mjs", sdk, world.service.url, world.server)
    assert said == {"errors": []}
    check_server_calls(await arrived(world), sdk)


@pytest.mark.parametrize("sdk", OTHERS)
async def test_other_sdks_for_node_report_a_refusal(
    world: World, environment: dict[str, str], sdk: str
) -> None:
    said = await play(environment, "other_node.mjs", sdk, world.service.url, "candor_wrong")
    assert len(said["errors"]) == 6
    assert await world.events() == []


RUDDER_CALLS = ("identify", "track", "page", "group", "alias")
"""Of RudderStack's SDKs for browsers, which have no screen."""


def check_paths(paths: list[str], configuration: str, posts: list[str]) -> None:
    """The configuration is asked for before anything is sent; what is sent then is sent at the same time."""
    first, *others = paths
    assert first == configuration
    assert sorted(others) == sorted(posts)


def check_browser_calls(found: Arrived, library: str) -> None:
    assert {payload["context"]["library"]["name"] for _, payload in found.values()} == {library}
    for _, payload in found.values():
        assert payload["context"]["ip"] == "127.0.0.0"
        assert "HeadlessChrome" in payload["context"]["userAgent"] and payload["context"]["bot"] is True
    assert len({event.anonymous_id for event, _ in found.values()}) == 1
    assert found["identify"][1]["traits"]["name"] == "Jürgen"
    track, payload = found["track"]
    assert (track.name, track.user_id) == ("Order Completed", "ü-1") and not track.timestamp_bounded
    assert payload["properties"]["total"] == 12.5 and payload["properties"]["card"] == "[card visa 1111]"
    page, payload = found["page"]
    assert page.name == "Home" and payload["properties"]["category"] == "Shop"
    assert payload["context"]["page"]["search"] == "?shop=1"
    assert (found["group"][0].group_id, found["group"][1]["traits"]["plan"]) == ("g-1", "pro")
    assert (found["alias"][0].previous_id, found["alias"][0].user_id) == ("a-1", "ü-1")


@pytest.mark.parametrize(
    ("mode", "posts"),
    [("standard", [f"/v1/{letter}" for letter in "itpsga"]), ("batching", ["/v1/b"])],
)
async def test_segments_sdk_for_browsers(
    world: World, environment: dict[str, str], chromium: str, mode: str, posts: list[str]
) -> None:
    count = str(len(posts))
    said = await play(
        environment, "browser.mjs", "segment", mode, count, world.service.url, world.web, chromium
    )
    assert said["errors"] == []
    check_paths(said["paths"], f"/v1/projects/{world.web}/settings", posts)
    found = await arrived(world)
    assert set(found) == {"identify", "track", "page", "screen", "group", "alias"}
    check_browser_calls(found, "analytics.js")


@pytest.mark.parametrize(
    ("mode", "posts"),
    [
        ("standard", [f"/v1/{type_}" for type_ in RUDDER_CALLS]),
        ("beacon", ["/beacon/v1/batch"]),
    ],
)
async def test_rudderstacks_sdk_for_browsers(
    world: World, environment: dict[str, str], chromium: str, mode: str, posts: list[str]
) -> None:
    count = str(len(posts))
    said = await play(
        environment, "browser.mjs", "rudder", mode, count, world.service.url, world.web, chromium
    )
    assert said["errors"] == []
    check_paths(said["paths"], "/sourceConfig/", posts)
    found = await arrived(world)
    assert set(found) == set(RUDDER_CALLS)
    check_browser_calls(found, "RudderLabs JavaScript SDK")


async def test_customer_ios_sdk_for_browsers(
    world: World, environment: dict[str, str], chromium: str
) -> None:
    said = await play(
        environment, "browser.mjs", "customerio", "standard", "6", world.service.url, world.web, chromium
    )
    assert said["errors"] == []
    assert sorted(said["paths"]) == sorted(f"/v1/{letter}" for letter in "itpsga")
    found = await arrived(world)
    assert set(found) == {"identify", "track", "page", "screen", "group", "alias"}
    check_browser_calls(found, "analytics.js")


async def test_rudderstacks_older_sdk_for_browsers(
    world: World, environment: dict[str, str], chromium: str
) -> None:
    said = await play(
        environment, "browser.mjs", "rudder_legacy", "standard", "5", world.service.url, world.web, chromium
    )
    [error] = said["errors"]
    assert "deprecated" in error
    check_paths(said["paths"], "/sourceConfig/", [f"/v1/{type_}" for type_ in RUDDER_CALLS])
    found = await arrived(world)
    assert set(found) == set(RUDDER_CALLS)
    check_browser_calls(found, "RudderLabs JavaScript SDK")
