"""Calls that come as images: always the picture, and the event when it can be read."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.integration.ingest.world import World

CARD = "4111 1111 1111 1111"


def packed(call: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(call, ensure_ascii=False).encode()).decode()


async def fetch(world: World, path: str) -> None:
    """The picture comes, whatever the path says."""
    answer = await world.client.get(path, headers={"User-Agent": "Mail/1"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content[:10] == b"GIF89a\x01\x00\x01\x00" and answer.content[-1:] == b";"


async def test_it_takes_calls_of_every_type_in_base64(world: World) -> None:
    members: dict[str, dict[str, Any]] = {
        "track": {"event": "Email Opened", "properties": {"subject": "Über ? > uns", "n": 1}},
        "identify": {"traits": {"a": 1}},
        "page": {"name": "Home"},
        "screen": {"name": "Start"},
        "group": {"groupId": "g"},
        "alias": {"previousId": "p"},
    }
    for type_, own in members.items():
        data = packed({"writeKey": world.web, "userId": "u", "messageId": type_} | own)
        await fetch(world, f"/v1/pixel/{type_}?data={quote(data, safe='')}")
    events = {event.message_id: event for event in await world.events()}
    assert {id: event.type for id, event in events.items()} == {type_: type_ for type_ in members}
    payload = msgspec.json.decode(events["track"].payload)
    assert payload["properties"] == members["track"]["properties"]
    assert payload["context"] == {"ip": "127.0.0.0", "userAgent": "Mail/1"}


async def test_base64_is_read_as_mail_programs_leave_it(world: World) -> None:
    """Of the alphabet for addresses, without padding, its plus signs not escaped; the key beside it."""
    call = {"userId": "u", "event": "Ÿ>>?~~", "properties": {"x": "ÿÿÿ>>>???"}}
    data = packed(call)
    assert {"+", "/"} <= set(data)
    key = f"&writeKey={world.web}"
    await fetch(world, f"/v1/pixel/track?data={data}{key}")
    await fetch(world, f"/v1/pixel/track/?data={data.replace('+', '-').replace('/', '_').rstrip('=')}{key}")
    assert [event.name for event in await world.events()] == ["Ÿ>>?~~"] * 2


@pytest.mark.parametrize("path", ["/v1/pixel/track", "/pixel/v1/track", "/pixel/track"])
async def test_dotted_parameters_make_a_call(world: World, path: str) -> None:
    query = (
        f"writeKey={world.web}&userId=5&event=Email%20Opened&properties.a.b=1&properties.c=x+y&context.app=k"
    )
    await fetch(world, f"{path}?{query}")
    [event] = await world.events()
    assert (event.user_id, event.name, event.type) == ("5", "Email Opened", "track")
    payload = msgspec.json.decode(event.payload)
    assert payload["properties"] == {"a": {"b": "1"}, "c": "x y"}
    assert payload["context"]["app"] == "k"


async def test_what_can_not_be_taken_is_the_same_picture_and_counted(world: World) -> None:
    lost = 'candor_pixels_lost_total{reason="%s"}'
    names = [lost % "unreadable", lost % "unknown_write_key"]
    before = [await world.metric(name) for name in names]
    deep = ".".join("a" * 20)
    for query in (
        "data=%",
        "data=YWJj",
        f"data=YWJj&writeKey={world.web}",
        "a=1&a.b=2",
        "a.b=2&a=1",
        f"{deep}=1",
    ):
        await fetch(world, f"/v1/pixel/track?{query}")
    await fetch(world, f"/v1/pixel/track?{'&'.join(f'a{n}=1' for n in range(300))}")
    await fetch(world, "/v1/pixel/track?event=E&userId=u")
    await fetch(world, "/v1/pixel/track")
    after = [await world.metric(name) for name in names]
    assert [new - old for new, old in zip(after, before, strict=True)] == [7, 2]
    assert await world.events() == [] and await world.letters() == []


async def test_the_head_of_a_picture_tells_nothing(world: World) -> None:
    path = f"/v1/pixel/track?writeKey={world.web}&userId=u&event=E"
    answer = await world.client.head(path)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/gif", b"")
    assert int(answer.headers["content-length"]) == len((await world.client.get(path)).content)
    assert len(await world.events()) == 1


async def test_an_address_that_is_too_long_is_refused(world: World) -> None:
    """Before anybody reads it, so that no picture can be the answer."""
    answer = await world.client.get(f"/v1/pixel/track?writeKey={world.web}&userId=u&event={'x' * 17_000}")
    assert answer.status_code == 431


async def test_a_bad_call_of_a_known_source_is_a_dead_letter(world: World) -> None:
    await fetch(world, f"/v1/pixel/track?writeKey={world.web}&userId=u")
    assert [letter.reason for letter in await world.letters()] == ["missing_field"]


async def test_cards_in_pixels_land_nowhere(world: World) -> None:
    call = {"userId": "u", "event": "E", "writeKey": world.web, "properties": {"n": CARD}}
    await fetch(world, f"/v1/pixel/track?data={packed(call)}")
    await fetch(world, f"/v1/pixel/track?writeKey={world.web}&userId=u&event=E&properties.n={quote(CARD)}")
    payloads = [msgspec.json.decode(event.payload)["properties"] for event in await world.events()]
    assert payloads == [{"n": "[card visa 1111]"}] * 2
    log = world.service.log.read_text()
    assert CARD not in log and CARD.replace(" ", "") not in log
