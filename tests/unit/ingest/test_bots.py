"""Which user agents are bots', at a bounded cost a request."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from services.ingest.domain import bots, calls
from services.ingest.domain.payload import Sender, Shared
from tests.support.cleaner import CLEANER

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
SERVER = Sender("shop", None, None)


def contexts(*user_agents: Any) -> list[dict[str, Any]]:
    """The contexts as they are stored, of calls of one request with those user agents."""
    batch = [{"userId": "u", "context": {"userAgent": agent}} for agent in user_agents]
    request = calls.read_request(json.dumps({"batch": batch}).encode(), None)
    shared = Shared(request, SERVER, CLEANER, harmless=True)
    payloads = [shared.payload(calls.read_call(raw), "track")[0] for raw in request.calls]
    return [msgspec.json.decode(payload)["context"] for payload in payloads]


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        f"{CHROME} Safari/537.36".replace("Chrome", "HeadlessChrome"),
        "curl/8.1.0",
        "x" * 200 + " Googlebot/2.1",
    ],
)
def test_bots_are_marked(agent: str) -> None:
    assert contexts(agent) == [{"userAgent": agent, "bot": True}]
    assert contexts(agent, agent)[1] == {"userAgent": agent, "bot": True}


@pytest.mark.parametrize(
    "agent",
    [
        f"{CHROME} Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Linux; Android 9; CUBOT_P30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Mobile",
        "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/AP1A)",
        "MyApp/1 CFNetwork/1410.0.3 Darwin/22.4.0",
        "okhttp/4.9.2",
        "analytics-kotlin/1.16.0",
        "",
        None,
        5,
        {"a": "Googlebot"},
    ],
)
def test_people_and_their_apps_are_not(agent: Any) -> None:
    assert contexts(agent) == [{"userAgent": agent}]


def test_one_request_causes_so_many_searches_and_no_more() -> None:
    found = contexts(*(f"Googlebot/2.1 {number}" for number in range(bots.MAX_SEARCHES + 5)))
    assert sum("bot" in context for context in found) == bots.MAX_SEARCHES
    assert all("bot" in context for context in contexts(*(f"Googlebot/2.1 {n}" for n in range(40))))


def test_what_is_remembered_is_bounded() -> None:
    assert bots.search(json.dumps("Googlebot/2.1 " + "x" * 5_000).encode())
    assert bots.known(json.dumps("Googlebot/2.1 " + "x" * 5_000).encode()) is None
