"""Whatever is sent to the services: no 500, bounded memory, and good requests are answered meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from services.kernel.settings import SERVICES
from tests.bench.processes import resident_anonymous
from tests.support.outside import Outside, track

pytestmark = pytest.mark.alone

SEED = 20261123
HOSTILE = int(os.environ.get("CANDOR_HOSTILE", "5000"))
"""Requests; ``make faults`` sends 20,000."""
CONNECTIONS = 64
SLOW = 100
"""Connections that never finish their request."""
MEGABYTES = 200
"""RssAnon of a service."""
_STREAMS = "/stream"
"""Answers without an end are no matter for a tool that waits for their end."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_nothing_that_the_documents_allow_or_forbid_leads_to_a_server_error(
    running: Outside, service: str
) -> None:
    """Schemathesis draws requests from the service's own document, alone and in sequence."""
    url = running.services[service].url
    result = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url,
            "--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing,stateful",
            "--header", f"Authorization:{running.bearer()['Authorization']}",
            "--exclude-path-regex", f"{_STREAMS}$", "--max-examples", "10", "--max-time", "12",
            "--seed", str(SEED), "--request-timeout", "10", "--generation-database", "none",
            "--continue-on-failure", "--no-color",
        ],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    found = re.search(r"(\d+) generated", result.stdout)
    assert found and int(found[1]) > 50, result.stdout
    assert result.returncode == 0, result.stdout[-8000:]


Request = tuple[str, dict[str, str], bytes]
"""Path, headers, body."""


def _event(properties: bytes) -> bytes:
    return b'{"batch":[{"type":"track","event":"E","userId":"u","properties":%s}]}' % properties


def _nested(depth: int) -> bytes:
    return _event(b'{"a":' * depth + b"1" + b"}" * depth)


def _wide(keys: int) -> bytes:
    return _event(b"{%s}" % b",".join(b'"k%d":1' % number for number in range(keys)))


def _any(draw: random.Random, depth: int = 0) -> object:
    kinds: list[Callable[[], object]] = [
        lambda: None,
        lambda: draw.choice([True, 10**30, -1, 1e308, 0.1]),
        lambda: "".join(
            chr(draw.choice([0, 0x202E, 0x1F600, 65, 0xFFFD])) for _ in range(draw.randrange(20))
        ),
        lambda: [_any(draw, depth + 1) for _ in range(draw.randrange(4))],
        lambda: {str(draw.random()): _any(draw, depth + 1) for _ in range(draw.randrange(4))},
    ]
    return draw.choice(kinds[: 3 if depth > 4 else 5])()


_MEMBERS = (
    "type", "event", "userId", "anonymousId", "messageId", "timestamp", "sentAt", "context", "traits",
    "properties", "integrations", "previousId", "groupId", "name",
)  # fmt: skip


def _mistyped(draw: random.Random) -> bytes:
    calls = [
        {"type": draw.choice(["track", "identify", "alias", "x"])}
        | {member: _any(draw) for member in draw.sample(_MEMBERS, 5)}
        for _ in range(3)
    ]
    body = {"batch": draw.choice([calls, calls[0], None, "x"]), "context": _any(draw), "sentAt": _any(draw)}
    return json.dumps(body).encode()


def _often_encoded(draw: random.Random) -> bytes:
    """A URL with signs that are encoded anew at each of many levels."""
    url = "/=" * draw.choice([100, 4_000]) + "email%" + "25" * draw.randrange(30) + "3Dx"
    return _event(json.dumps({"url": url, "other": f"?{'%3D' * 3_000}&token=x"}).encode())


def _unlike(draw: random.Random, size: int) -> str:
    """A text that no other request has."""
    return f"{draw.getrandbits(64):x}{'y' * size}"


def _remembered(draw: random.Random) -> bytes:
    """Long ones of all that could be remembered: names, addresses, ids, categories."""
    context = {
        "ip": f"10.0.0.1%{_unlike(draw, 8_000)}",
        "userAgent": _unlike(draw, 900),
        _unlike(draw, 8_000): {"token": "a", _unlike(draw, 8_000): "?a=1&token=x"},
    }
    consent = {"consent": {"categoryPreferences": {_unlike(draw, 1_000): True for _ in range(20)}}}
    calls = [
        {"type": "track", "event": "E", "userId": _unlike(draw, 900), "context": context} for _ in range(9)
    ]
    return json.dumps({"batch": calls, "context": consent}).encode()


_BOMB = gzip.compress(b" " * 50_000_000, 9)
PUBLIC = "a public key"
"""Stands for the authorization with one: the user agent is looked at."""
_AUTHORIZATIONS = ["Basic ====", "Basic \xff", "Bearer x", "x" * 5_000]
_LARGE = b'{"batch":[' + b" " * 600_000 + b"]}"

KINDS: dict[str, Callable[[random.Random], tuple[dict[str, str], bytes]]] = {
    "noise": lambda draw: ({}, draw.randbytes(draw.randrange(2_000))),
    "torn": lambda draw: ({}, _event(b'{"a":1}')[: draw.randrange(60)]),
    "deep": lambda draw: ({}, _nested(draw.choice([50, 500, 5_000]))),
    "wide": lambda draw: ({}, _wide(draw.randrange(4_000))),
    "long": lambda draw: ({}, _event(b'{"a":"' + b"x" * draw.choice([31_000, 40_000, 400_000]) + b'"}')),
    "large": lambda draw: ({}, _LARGE),
    "NUL and surrogates": lambda draw: ({}, _event(rb'{"a\u0000":"\ud800","\udfff":"\u0000"}')),
    "no UTF-8": lambda draw: ({}, _event(b'{"a":"\xff\xfe\xc0"}')),
    "numbers": lambda draw: ({}, _event(b'{"a":1e999,"b":' + b"9" * 5_000 + b"}")),
    "twice": lambda draw: ({}, _event(b'{"a":1,"a":' + b"[" * 30 + b"]" * 30 + b"}")),
    "mistyped": lambda draw: ({}, _mistyped(draw)),
    "bomb": lambda draw: ({"Content-Encoding": "gzip"}, _BOMB),
    "no gzip": lambda draw: ({"Content-Encoding": "gzip"}, draw.randbytes(300)),
    "unknown encoding": lambda draw: ({"Content-Encoding": draw.choice(["br", "zstd", "gzip, gzip"])}, b"{}"),
    "headers": lambda draw: ({"Authorization": draw.choice(_AUTHORIZATIONS)}, b"{}"),
    "new headers": lambda draw: ({"Authorization": f"Basic {_unlike(draw, 7_000)}"}, b"{}"),
    "user agent": lambda draw: ({"User-Agent": "a=" * 500, "Authorization": PUBLIC}, _event(b"{}")),
    "often encoded": lambda draw: ({}, _often_encoded(draw)),
    "remembered": lambda draw: ({}, _remembered(draw)),
    "many": lambda draw: ({}, b'{"batch":[' + b",".join([b"{}"] * draw.choice([2_400, 2_600])) + b"]}"),
}  # fmt: skip


@asynccontextmanager
async def _slow_connections(host: str, port: int) -> AsyncIterator[None]:
    opened = await asyncio.gather(*[asyncio.open_connection(host, port) for _ in range(SLOW)])
    try:
        for _, writer in opened:
            writer.write(
                b"POST /v1/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n" + b" " * 100_000
            )
        yield
    finally:
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*[writer.wait_closed() for _, writer in opened], return_exceptions=True)


@pytest.mark.timeout(300)
async def test_hostile_requests_neither_fill_the_memory_nor_keep_good_ones_out(candor: Outside) -> None:
    """Each kind in turn, over many connections, some of which never finish; a good client beside them."""
    ingest = candor.services["ingest"]
    basic = aiohttp.encode_basic_auth(candor.tokens["demo-server"], "")  # a public key would be held back
    public = aiohttp.encode_basic_auth(candor.tokens["demo-web"], "")
    statuses: Counter[tuple[str, int]] = Counter()
    peak = 0.0
    queue = iter(range(HOSTILE))
    names = sorted(KINDS)

    async def attack(client: aiohttp.ClientSession) -> None:
        for number in queue:
            kind = names[number % len(names)]
            headers, body = KINDS[kind](random.Random(f"{SEED} {number}"))  # noqa: S311 - repeatable
            if headers.get("Authorization") == PUBLIC:
                headers["Authorization"] = public
            path = "/v1/track" if number % 7 == 0 else "/v1/batch"
            try:
                async with client.post(
                    f"{ingest.url}{path}", data=body, headers={"Authorization": basic, **headers}
                ) as answer:
                    await answer.read()
                    statuses[kind, answer.status] += 1
            except aiohttp.ClientError:
                statuses[kind, 0] += 1

    async def behave() -> list[float]:
        seconds = []
        while not done.is_set():
            began = time.monotonic()
            user = candor.name("good")
            await candor.accepted(track(user, "Seen", user))
            seconds.append(time.monotonic() - began)
            nonlocal peak
            peak = max(peak, resident_anonymous(ingest.pid))
            await asyncio.sleep(0.05)
        return seconds

    done = asyncio.Event()
    async with _slow_connections(candor.settings.host, candor.settings.ingest_port):
        good = asyncio.create_task(behave())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as client:
            await asyncio.gather(*[attack(client) for _ in range(CONNECTIONS)])
        done.set()
        seconds = sorted(await good)
    print(f"{len(seconds)} good ones, slowest {seconds[-1]:.2f} s, {peak:.0f} MB; {sorted(statuses.items())}")
    assert statuses.total() == HOSTILE
    assert {status for _, status in statuses} <= {0, 200, 400, 401, 413, 415, 429, 431}
    assert all(answers[0] < answers.total() / 100 for answers in _by_kind(statuses).values())
    assert len(seconds) > 20
    assert peak < MEGABYTES


def _by_kind(statuses: Counter[tuple[str, int]]) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {}
    for (kind, status), count in statuses.items():
        found.setdefault(kind, Counter())[status] += count
    return found
