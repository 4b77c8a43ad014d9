"""What ingest answers, and what is in Kafka by then: the service as a process, against a real broker."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from services.kernel import codec, headers, keys
from services.kernel.clock import SystemClock
from services.kernel.events import DeadLetter, Event
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, split
from services.kernel.permission import Stamp
from tests.integration.ingest.world import World, track

CARD = "4111 1111 1111 1111"


async def test_what_is_answered_with_200_is_in_kafka_with_its_key_and_headers(world: World) -> None:
    before = SystemClock().now()
    answer = await world.batch(track(anonymousId="a1", messageId="m1", properties={"total": 5}))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    [record] = await world.records("events.collected")
    hash_ = world.settings.hasher()
    named = dict(record.headers)
    assert record.key == hash_(USER_ID, "u1")
    assert split(named[headers.IDENTIFIERS]) == [hash_(USER_ID, "u1"), hash_(ANONYMOUS_ID, "a1")]
    assert named[headers.SOURCE] == f"shop-{world.source}".encode()
    assert headers.STAMP not in named
    event = codec.decode(Event, record.value)
    assert (event.message_id, event.name, event.source) == ("m1", "Viewed", f"shop-{world.source}")
    assert msgspec.json.decode(event.payload) == {"properties": {"total": 5}}
    assert before <= int(named[headers.STARTED]) == event.received_at <= SystemClock().now()
    assert event.received_day == event.received_at // 86_400_000_000


@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_path_takes_its_calls(world: World, slash: str) -> None:
    calls: dict[str, dict[str, Any]] = {
        "track": {"event": "Viewed"},
        "identify": {"traits": {"a": 1}},
        "page": {"name": "Home"},
        "screen": {"name": "Home"},
        "group": {"groupId": "g"},
        "alias": {"previousId": "p"},
    }
    for type_, members in calls.items():
        answer = await world.post(f"/v1/{type_}{slash}", {"userId": "u", "writeKey": world.web} | members)
        assert answer.status_code == 200, answer.text
    for path in ("/v1/batch", "/v1/import"):
        body = {"batch": [track()], "writeKey": world.web}
        assert (await world.post(path + slash, body)).json() == {"success": True}
    assert sorted(event.type for event in await world.events()) == sorted([*calls, "track", "track"])


async def test_bad_events_of_a_batch_become_dead_letters_and_the_others_go_on(world: World) -> None:
    answer = await world.batch(track(messageId="good"), {"type": "track", "userId": "u1"}, 5, track(type="x"))
    assert answer.json() == {"success": True}
    assert [event.message_id for event in await world.events()] == ["good"]
    letters = await world.letters()
    assert sorted(letter.reason for letter in letters) == ["bad_field", "missing_field", "unknown_type"]
    assert {(letter.step, letter.source, letter.topic) for letter in letters} == {
        ("ingest", f"shop-{world.source}", None)
    }
    [letter] = [letter for letter in letters if letter.reason == "missing_field"]
    assert msgspec.json.decode(letter.payload) == {"type": "track", "userId": "u1"}


async def test_a_bad_call_keeps_what_a_replay_must_know(world: World) -> None:
    """Its type, where only the path said it, and that the browser asked for privacy; never the key."""
    body = {"userId": "u1", "writeKey": world.server}
    await world.post("/v1/track", body, headers={"sec-gpc": "1"})
    [record] = await world.records("deadletters")
    payload = msgspec.json.decode(codec.decode(DeadLetter, record.value).payload)
    assert payload == {"userId": "u1", "type": "track"}
    assert headers.value(record.headers, headers.SOURCE) == f"shop-{world.source}".encode()
    assert headers.value(record.headers, headers.STAMP) == Stamp(gpc=True).to_header()


async def test_bad_calls_that_the_shared_context_would_multiply_are_refused(world: World) -> None:
    answer = await world.batch(*[{"type": "track"}] * 1_000, context={"x": ["y" * 15_000] * 2})
    assert answer.status_code == 413
    assert await world.letters() == []


@pytest.mark.parametrize("key", [None, "candor_wrong"])
async def test_an_unknown_write_key_is_refused_in_all_the_words_sdks_read(
    world: World, key: str | None
) -> None:
    answer = await world.post("/v1/batch", {"batch": [track()]}, key=key)
    assert answer.status_code == 401
    body = answer.json()
    assert body["code"] == "unknown_write_key" and body["message"] == body["error"] == body["detail"]
    assert body["success"] is False and body["status"] == 401
    assert answer.headers["access-control-allow-origin"] == "*"
    assert await world.events() == []


async def test_a_revoked_key_stops_working(world: World) -> None:
    keys.revoke(world.settings.keyring, f"web-{world.source}")
    while (await world.batch(key=world.web)).status_code == 200:
        pass
    assert (await world.batch(key=world.web)).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "unreadable"),
        (b'{"batch": 5}', 400, "unreadable"),
        (b'{"batch": [' + b"1," * 2_500 + b"1]}", 413, "too_large"),
        (b'{"batch": ["' + b"x" * 512_000 + b'"]}', 413, "too_large"),
        (b'{"batch": [1], "context": 5}', 400, "bad_field"),
    ],
)
async def test_unreadable_and_oversize_requests_are_refused_whole(
    world: World, body: bytes, status: int, code: str
) -> None:
    answer = await world.post("/v1/batch", body, key=world.server)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_context_that_would_multiply_into_too_much_is_refused(world: World) -> None:
    answer = await world.batch(*[track()] * 1_000, context={"x": ["y" * 15_000] * 2})
    assert answer.status_code == 413


async def test_an_event_that_becomes_too_large_for_a_record_is_a_dead_letter(world: World) -> None:
    """Masks are longer than short numbers, within JSON in texts all the more."""
    note = json.dumps([f"[{','.join(['501800000009'] * 1_250)}]"])
    answer = await world.batch(track(), track(messageId="own"), context={"x": [note] * 31})
    assert answer.status_code == 200, answer.text
    assert await world.events() == []
    assert [(letter.reason, letter.payload) for letter in await world.letters()] == [("too_large", b"")] * 2


async def test_gzip_is_unpacked_within_bounds(world: World) -> None:
    async def packed(body: bytes) -> httpx.Response:
        return await world.post("/v1/batch", body, key=world.server, headers={"content-encoding": "gzip"})

    body = gzip.compress(json.dumps({"batch": [track(messageId="packed")]}).encode())
    assert (await packed(body)).status_code == 200
    assert [event.message_id for event in await world.events()] == ["packed"]
    assert (await packed(b"no gzip")).json()["code"] == "bad_gzip"
    assert (await packed(gzip.compress(b" " * 100_000_000))).status_code == 413


async def test_a_body_in_chunks_is_bounded_too(world: World) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield b"x" * 10_000

    answer = await world.client.post("/v1/batch", content=endless())
    assert answer.status_code == 413


async def test_browsers_are_let_in_from_any_origin(world: World) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = await world.client.options("/v1/track", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert int(answer.headers["access-control-max-age"]) > 0
    sent = await world.post("/v1/track", track(), key=world.web, headers={"Origin": "https://shop.example"})
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, "*")
    assert (await world.client.get("/v1/track")).status_code == 405


async def test_what_the_browser_says_of_consent_goes_into_the_stamp(world: World) -> None:
    gpc = {"Sec-GPC": "1"}
    consent = {"consent": {"categoryPreferences": {"marketing": True, "ads": False}}}
    await world.post("/v1/track", track(messageId="both", context=consent), key=world.web, headers=gpc)
    await world.post("/v1/track", track(messageId="gpc"), key=world.web, headers=gpc)
    await world.post("/v1/track", track(messageId="own", context=consent), key=world.web)
    stamps = {
        codec.decode(Event, record.value).message_id: Stamp.from_header(dict(record.headers)[headers.STAMP])
        for record in await world.records("events.collected")
    }
    assert stamps == {
        "both": Stamp(allowed=("marketing",), gpc=True),
        "gpc": Stamp(gpc=True),
        "own": Stamp(allowed=("marketing",)),
    }


async def test_a_preference_event_says_with_what_right_it_chooses(world: World) -> None:
    consent = {"consent": {"categoryPreferences": {"marketing": False}}}
    chosen = track(event="Segment Consent Preference Updated", context=consent)
    await world.post("/v1/track", {**chosen, "messageId": "public"}, key=world.web)
    await world.post("/v1/track", {**chosen, "messageId": "server"}, key=world.server)
    await world.post("/v1/track", track(messageId="another", context=consent), key=world.server)
    rights = {
        codec.decode(Event, record.value).message_id: dict(record.headers).get(headers.PREFERENCE)
        for record in await world.records("events.collected")
    }
    assert rights == {"public": headers.WRITE, "server": headers.SERVER, "another": None}


async def test_only_public_keys_record_where_a_request_came_from(world: World) -> None:
    agent = {"User-Agent": "Firefox/140"}
    await world.post("/v1/track", track(messageId="web"), key=world.web, headers=agent)
    await world.post("/v1/track", track(messageId="server"), key=world.server, headers=agent)
    payloads = {event.message_id: msgspec.json.decode(event.payload) for event in await world.events()}
    assert payloads == {"web": {"context": {"ip": "127.0.0.0", "userAgent": "Firefox/140"}}, "server": {}}


async def test_cards_land_nowhere(world: World) -> None:
    squeezed = CARD.replace(" ", "")
    secret = "hunter2"  # noqa: S105 - made up
    hidden = {"note": CARD, "n": int(squeezed), "cvv": "737", "url": f"https://x/?n={squeezed}&cvc=737"}
    hidden |= {CARD: "\u0660", "nested": json.dumps({"pan": CARD, "cvv": "737"}), "password": secret}
    hidden |= {
        "page": f"https://x.example/?token={secret}&q=%3Femail%3D{secret}",
        "track": f";{squeezed}=28121010737?",
    }
    await world.batch(
        track(properties=hidden),
        track(event=f"Paid {CARD}"),
        track(userId=squeezed),
        track(type=CARD, properties=hidden),
        {"userId": {squeezed: CARD}},
        squeezed,
        track(properties=hidden | {CARD: {CARD: "\0"}}),
        track(properties=hidden | {CARD: [10**30]}),
        context={"shared": CARD, "api_key": secret},
    )
    encoded = base64.b64encode(f"{squeezed}:".encode()).decode()
    await world.post("/v1/batch", f"{{{CARD}".encode(), key=CARD)
    await world.post(f"/v1/{squeezed}", {"n": CARD}, headers={"Authorization": f"Basic {encoded}"})
    await world.post(f"/v1/batch?n={squeezed}", {"batch": CARD}, key=world.server)
    problems = [
        await world.post("/v1/batch", {"batch": [1], "context": {CARD: {CARD: "\0"}}}, key=world.server),
        await world.post("/v1/batch", {"batch": {CARD: secret}}, key=world.server),
        await world.post("/v1/track", {"n": CARD, "userId": {CARD: secret}, "writeKey": [CARD]}),
        await world.post("/v1/batch", CARD.encode() * 40_000, key=world.server),
        await world.post(
            "/v1/batch", CARD.encode(), key=world.server, headers={"content-encoding": squeezed}
        ),
    ]
    assert [problem.status_code for problem in problems] == [400, 400, 400, 413, 400]
    for problem in problems:
        assert squeezed not in problem.text and CARD not in problem.text and secret not in problem.text
    collected = await world.records("events.collected")
    dead = await world.records("deadletters")
    assert (len(collected), len(dead)) == (2, 6)
    for record in collected + dead:
        everything = b"".join([record.key or b"", record.value or b"", *(data for _, data in record.headers)])
        assert squeezed.encode() not in everything and CARD.encode() not in everything
        # As a number of its own or after the track's digits: chance puts it into ids and times.
        assert not re.search(rb"(?<![0-9A-Za-z])737(?![0-9A-Za-z])|1010737", everything)
        assert secret.encode() not in everything
    logged = world.service.log.read_text() + (await world.client.get("/metrics")).text
    assert squeezed not in logged and CARD not in logged and secret not in logged


async def test_what_happened_is_counted(world: World) -> None:
    names = [
        'candor_records_total{outcome="ok",stage="ingest"}',
        'candor_dead_letters_total{reason="missing_field",stage="ingest"}',
        'candor_masked_total{kind="number"}',
        'candor_masked_total{kind="key"}',
    ]
    before = [await world.metric(name) for name in names]
    card = {"a": CARD, "cvv": "1"}
    await world.batch(track(properties=card), track(), track(event="", properties=card))
    after = [await world.metric(name) for name in names]
    assert [new - old for new, old in zip(after, before, strict=True)] == [2, 1, 2, 2]


async def test_the_paths_are_described(world: World) -> None:
    described = (await world.client.get("/openapi.json")).json()["paths"]
    types = ("track", "identify", "page", "screen", "group", "alias")
    posted = {f"/v1/{path}" for path in (*types, "batch", "import", "m", "merge")} | {"/beacon/v1/batch"}
    got = {f"/v1/pixel/{type_}" for type_ in types} | {"/v1/projects/{writeKey}/settings", "/sourceConfig"}
    assert posted <= {path for path, item in described.items() if "post" in item}
    assert got <= {path for path, item in described.items() if "get" in item}
    assert "/v1/t," in described["/v1/track"]["post"]["description"]
    operations = [op["operationId"] for item in described.values() for op in item.values()]
    assert len(set(operations)) == len(operations)
    assert (await world.client.get("/docs")).status_code == 200


async def test_the_refusals_are_described(world: World) -> None:
    described = (await world.client.get("/openapi.json")).json()["paths"]
    always = {"408", "431", "503"}
    assert all(always <= op["responses"].keys() for item in described.values() for op in item.values())
    assert described["/v1/batch"]["post"]["responses"].keys() - always == {"200", "400", "401", "413", "429"}
    assert "Retry-After" in described["/v1/track"]["post"]["responses"]["429"]["headers"]
    assert {"401", "403"} <= described["/v1/keys"]["get"]["responses"].keys()


async def test_bodies_that_never_end_fill_no_memory(world: World) -> None:
    """Of bodies held at once the one that would pass 64 MiB is asked to come again; small ones still fit."""
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 512000\r\n\r\n"
    port = world.settings.ingest_port
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(136)]
    answers = [asyncio.create_task(reader.readuntil(b"\r\n\r\n")) for reader, _ in connections]
    for _, writer in connections:
        writer.write(head + b"x" * 500_000)
    done, waiting = await asyncio.wait(answers, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    refused = [await answer for answer in done]
    assert refused and all(b"503" in answer and b"retry-after" in answer for answer in refused)
    assert len(waiting) > 100
    assert (await world.batch(track())).status_code == 200
    for answer in waiting:
        answer.cancel()
    await asyncio.wait(answers)
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()


async def test_each_limit_that_one_event_breaks_is_a_reason_of_its_own(world: World) -> None:
    bodies = [
        b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
        b'{"a":1e999}',
        b'{"a":"\\u0000"}',
        b'{"a":"%b"}' % (b"x" * 20_000),
    ]
    calls = [
        b'{"type":"track","event":"e","userId":"u1","properties":%b}' % body for body in (*bodies, b"{}")
    ]
    answer = await world.post("/v1/batch", b'{"batch":[%b]}' % b",".join(calls), key=world.server)
    assert answer.json() == {"success": True}
    assert len(await world.events()) == 1
    letters = {letter.reason: letter.detail for letter in await world.letters()}
    assert sorted(letters) == ["nul", "number_out_of_range", "string_too_long", "too_deep"]
    assert letters["nul"] == "$.properties.a"


async def test_what_was_taken_out_is_counted_by_kind(world: World) -> None:
    names = ['candor_masked_total{kind="secret"}', 'candor_masked_total{kind="query"}']
    before = [await world.metric(name) for name in names]
    hidden = {"password": "x", "url": "https://x.example/?email=a@b.example&token=x"}
    await world.batch(track(properties=hidden), track(event="", properties=hidden), track())
    after = [await world.metric(name) for name in names]
    assert [new - old for new, old in zip(after, before, strict=True)] == [2, 4]
