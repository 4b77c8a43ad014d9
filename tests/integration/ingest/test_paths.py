"""The names under which SDKs call, the ways they prove who they are, and what they ask before they send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.kernel import codec, headers
from services.kernel.events import Event
from tests.integration.ingest.world import World, track

CALLS: dict[str, dict[str, Any]] = {
    "track": {"event": "Viewed"},
    "identify": {"traits": {"a": 1}},
    "page": {"name": "Home"},
    "screen": {"name": "Home"},
    "group": {"groupId": "g"},
    "alias": {"previousId": "p"},
}
BATCHES = ("batch", "import", "b", "batch/b")


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("version", ["/v1", ""])
async def test_every_name_of_a_path_takes_its_calls(world: World, version: str, slash: str) -> None:
    for type_, members in CALLS.items():
        for name in (type_, type_[0]):
            call = {"userId": "u", "writeKey": world.web, "messageId": f"{type_} {name}"} | members
            answer = await world.post(f"{version}/{name}{slash}", call)
            assert (answer.status_code, answer.json()) == (200, {"success": True})
    for name in BATCHES:
        body = {"batch": [track(messageId=f"track {name}")], "writeKey": world.web}
        assert (await world.post(f"{version}/{name}{slash}", body)).json() == {"success": True}
    sent = {f"{type_} {name}" for type_ in CALLS for name in (type_, type_[0])}
    sent |= {f"track {name}" for name in BATCHES}
    events = {event.message_id: event.type for event in await world.events()}
    assert set(events) == sent and all(id.split()[0] == type_ for id, type_ in events.items())


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_beacon_says_its_key_in_the_query(world: World, slash: str) -> None:
    body = {"batch": [track()]}
    headers_ = {"Content-Type": "text/plain;charset=UTF-8"}
    path = f"/beacon/v1/batch{slash}?writeKey="
    assert (await world.post(path + world.web, body, headers=headers_)).json() == {"success": True}
    assert (await world.post(path + "candor_wrong", body, headers=headers_)).status_code == 401
    assert (await world.post(f"/v1/batch?writeKey={world.web}", body)).status_code == 401
    assert len(await world.events()) == 1


async def test_a_live_key_counts_wherever_it_stands(world: World) -> None:
    """Some SDKs send it twice, and one of the two is enough."""
    single = track(writeKey=world.web)
    assert (await world.post("/v1/track", single)).status_code == 200
    assert (await world.post("/v1/track", single, key="candor_wrong")).status_code == 200
    assert (await world.post("/v1/track", track(writeKey="candor_wrong"), key=world.web)).status_code == 200
    bearer = {"Authorization": "Bearer of-another-system"}
    assert (await world.post("/v1/track", single, headers=bearer)).status_code == 200
    assert (await world.post("/v1/batch", {"batch": [single]})).status_code == 401
    assert len(await world.events()) == 4


async def test_what_sdks_measure_of_themselves_is_taken_and_not_kept(world: World) -> None:
    series = {"series": [{"type": "Counter", "metric": "analytics_js.invoke", "value": 1, "tags": {}}]}
    for path in ("/v1/m", "/v1/m/", "/m"):
        answer = await world.post(path, series)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert await world.events() == [] and await world.letters() == []


async def test_merge_is_refused_for_good(world: World) -> None:
    ids = [{"type": "anonymousId", "value": "a"}, {"type": "userId", "value": "u"}]
    answer = await world.post("/v1/merge", {"mergeProperties": ids}, key=world.web)
    assert (answer.status_code, answer.json()["code"]) == (400, "not_supported")
    assert "alias" in answer.json()["message"]


@pytest.mark.parametrize(
    "path", ["/v1/projects/{}/settings", "/projects/{}/settings", "/v1/projects/{}/settings/"]
)
async def test_settings_send_sdks_to_where_they_found_us(world: World, path: str) -> None:
    host = {"Host": "events.shop.example:8443"}
    answer = await world.client.get(path.format(world.web), headers=host)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == {
        "integrations": {"Segment.io": {"apiKey": world.web, "apiHost": "events.shop.example:8443/v1"}}
    }


async def test_an_unknown_key_has_no_settings(world: World) -> None:
    for path in (
        "/v1/projects/candor_wrong/settings",
        "/sourceConfig?writeKey=candor_wrong",
        "/sourceConfig",
    ):
        answer = await world.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_write_key")
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await world.client.get("/v1/projects//settings")).status_code == 404
    assert (await world.client.get("/v1/projects/a/b/settings")).status_code == 404


async def test_rudderstacks_sdks_are_told_of_a_source_without_destinations(world: World) -> None:
    asked = await world.client.get(f"/sourceConfig/?p=npm&v=3&writeKey={world.web}")
    with_basic = await world.client.get("/sourceConfig", auth=(world.web, ""))
    assert asked.json() == with_basic.json()
    source = asked.json()["source"]
    assert (
        source["enabled"] is True and source["id"] and source["config"] == {} == dict(source["destinations"])
    )


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/t", "POST"),
        ("/batch/b/", "POST"),
        ("/v1/m", "POST"),
        ("/beacon/v1/batch", "POST"),
        ("/v1/pixel/track", "GET"),
        ("/v1/projects/any/settings", "GET"),
        ("/sourceConfig/", "GET"),
    ],
)
async def test_browsers_may_ask_first_on_every_path(world: World, path: str, method: str) -> None:
    answer = await world.client.options(path, headers={"Origin": "https://shop.example"})
    assert answer.status_code == 204 and answer.headers["access-control-allow-origin"] == "*"
    assert method in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "x-retry-count"} <= set(allowed)
    assert answer.headers["access-control-max-age"] == "86400"
    wrong = await world.client.request("PUT", path)
    methods = f"{method}, HEAD" if method == "GET" else method
    assert (wrong.status_code, wrong.headers["allow"]) == (405, f"{methods}, OPTIONS")


async def test_ids_that_are_numbers_are_texts(world: World) -> None:
    await world.batch(track(userId=12, anonymousId=3.0), track(userId=1_234_567_890_123))
    assert {(event.user_id, event.anonymous_id) for event in await world.events()} == {
        ("12", "3"),
        ("1234567890123", None),
    }


async def test_bots_are_marked_by_their_user_agent(world: World) -> None:
    google = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    await world.post("/v1/track", track(messageId="web"), key=world.web, headers={"User-Agent": google})
    own = {"userAgent": google}
    await world.batch(track(messageId="forwarded", context=own), track(messageId="person"))
    marked = {e.message_id: msgspec.json.decode(e.payload).get("context") for e in await world.events()}
    assert marked["web"]["bot"] is True
    assert marked["forwarded"] == {"userAgent": google, "bot": True}
    assert marked["person"] is None


async def test_test_events_are_marked_within_and_without(world: World) -> None:
    asked = {"X-Candor-Test": "1"}
    await world.post("/v1/track", track(messageId="header"), key=world.server, headers=asked)
    await world.batch(
        track(messageId="own", context={"test": True}),
        track(messageId="no", context={"test": False}),
        track(messageId="plain"),
    )
    await world.batch(track(messageId="shared"), context={"test": True})
    found = {}
    for record in await world.records("events.collected"):
        event = codec.decode(Event, record.value)
        context = msgspec.json.decode(event.payload).get("context", {})
        found[event.message_id] = (context.get("test"), dict(record.headers).get(headers.TEST))
    assert found == {
        "header": (True, b"1"),
        "own": (True, b"1"),
        "shared": (True, b"1"),
        "no": (False, None),
        "plain": (None, None),
    }
