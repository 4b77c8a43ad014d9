"""Our services in a measurement: real processes with topics, a database and keys of their own."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil

from services.kernel import codec, headers, keys
from services.kernel import topics as registry
from services.kernel.events import ConsentState, Event, Transition
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher, join
from services.kernel.message import partition_of
from services.kernel.settings import SERVICES, Settings
from tests.bench import topics
from tests.bench.arrivals import Entry
from tests.bench.processes import BenchError
from tests.bench.segments import SEGMENTS
from tests.bench.servers import Servers
from tests.bench.topics import Raw
from tests.bench.workload import PEOPLE, SECONDS_A_DAY, Call, anonymous_id, is_opted_out, user_id
from tests.support.services import Service, services
from tests.support.stack import settings_for

SOURCE = "demo-web"
PLENTY = 1_000_000_000
"""Events and bytes a second that the bench's key may send: metered like any other, and never held up."""
ALL_PURPOSES = b"analytics,marketing,personalization"
PLACES = (b"DE", b"FR", b"GB", b"US-CA", b"US-NY", b"BR")


@dataclass(frozen=True, slots=True)
class Candor:
    """Some of the services, ready."""

    settings: Settings
    tokens: Mapping[str, str]
    write_key: str
    services: Mapping[str, Service]

    @property
    def pids(self) -> dict[str, int]:
        return {name: service.pid for name, service in self.services.items()}

    @property
    def authorization(self) -> str:
        """Of requests to ingest: with a public key, whose events are metered and take in address and user
        agent."""
        return "Basic " + b64encode(f"{self.write_key}:".encode()).decode()

    def check(self) -> None:
        """Raises BenchError with its log when one of the services has ended."""
        for name, service in self.services.items():
            if psutil.Process(service.pid).status() == psutil.STATUS_ZOMBIE:
                raise BenchError(f"{name} ended:\n{service.tail()}")


@contextmanager
def candor(
    servers: Servers,
    row: str,
    names: tuple[str, ...] = SERVICES,
    before: Callable[[Settings], None] | None = None,
) -> Iterator[Candor]:
    """Those services on a new database and new topics, which `before` may fill before they start."""
    home = servers.folder / row
    home.mkdir()
    with servers.database() as database:
        settings = settings_for(home, servers.kafka, database, f"bench-{home.parent.name}-{row}.")
        asyncio.run(registry.ensure(settings))
        try:
            tokens = keys.ensure_default_keys(settings)
            key, write_key = keys.draft("bench", "write", SOURCE, rate_events=PLENTY, rate_bytes=PLENTY)
            keys.add(settings.keyring, key)
            if before is not None:
                before(settings)
            with services(settings, names) as started:
                yield Candor(settings, tokens, write_key, started)
        finally:
            asyncio.run(topics.delete(servers.kafka, settings.topic_prefix))


def partitions(topic: str) -> int:
    return registry.registry()[topic].partitions


# --- what stands in our topics ------------------------------------------------------------------------


def events(calls: Iterable[Call], hasher: Hasher, *, permitted: bool) -> Iterator[tuple[int, Raw]]:
    """The calls as ingest writes them to events.collected, or as the gate passes them on, with partitions."""
    count = partitions("events.collected")
    for call in calls:
        user, anonymous = user_id(call.person), anonymous_id(call.person)
        now = time.time_ns() // 1000
        identifiers = [hasher(ANONYMOUS_ID, anonymous)]
        if user:
            identifiers.insert(0, hasher(USER_ID, user))
        event = Event(
            call.message_id, SOURCE, call.type, call.name or None, user, anonymous, None, None,
            call.microseconds, False, now, now // 1_000_000 // SECONDS_A_DAY, call.payload(),
        )  # fmt: skip
        named = [
            (headers.IDENTIFIERS, join(identifiers)),
            (headers.SOURCE, SOURCE.encode()),
            (headers.STARTED, b"%d" % now),
            (headers.PLACE, PLACES[call.person % len(PLACES)]),
            (headers.EVENT, (call.name or f"${call.type}").encode()),
        ]
        if permitted:
            named.append((headers.PURPOSES, ALL_PURPOSES))
        yield partition_of(identifiers[0], count), Raw(identifiers[0], codec.encode(event), named)


def consent_states(hasher: Hasher, strangers: int = 0) -> Iterator[tuple[int, Raw]]:
    """A denial for every identifier of the people who opted out, as the consent service would have published
    it; and states of so many strangers, as many of them denials."""
    count = partitions("consent.state")
    now = time.time_ns() // 1000
    denied, granted = (codec.encode(ConsentState(1, names, [], False, now)) for names in (["*"], []))
    for person in filter(is_opted_out, range(PEOPLE)):
        for kind, name in ((USER_ID, user_id(person)), (ANONYMOUS_ID, anonymous_id(person))):
            if name:
                key = hasher(kind, name)
                yield partition_of(key, count), Raw(key, denied)
    for stranger in range(strangers):
        key = hasher(USER_ID, f"stranger-{stranger}")
        yield partition_of(key, count), Raw(key, denied if is_opted_out(stranger) else granted)


async def decide(settings: Settings, strangers: int = 0) -> int:
    """Write those states to consent.state; how many."""
    states = consent_states(settings.hasher(), strangers)
    return await topics.fill(settings.kafka, settings.topic("consent.state"), states)


async def decisions_heard(ours: Candor, decisions: int) -> None:
    """Until profile has dealt with so many consent states, which it does once and not in the measurement."""
    settings = ours.settings
    topic, group = settings.topic("consent.state"), settings.topic("profile-decisions")
    async with topics.Watch(settings.kafka, topic, group) as watch:
        await topics.follow(watch.committed, decisions, 60, ours.check)


def decode(value: bytes) -> tuple[Entry, bool]:
    transition = codec.decode(Transition, value)
    return (transition.segment_key, transition.user_id or transition.anonymous_ids[0]), transition.member


# --- through the APIs ---------------------------------------------------------------------------------


def define_segments(running: Candor) -> None:
    """Put the workload's segments and wait until none of them is filling."""
    headers_ = {"Authorization": f"Bearer {running.tokens['admin']}"}
    with httpx.Client(base_url=running.services["segment"].url, headers=headers_, timeout=30) as client:
        for segment in SEGMENTS:
            body = {name: segment[name] for name in ("name", "purpose", "rule")}
            client.put(f"/v1/segments/{segment['key']}", json=body).raise_for_status()
        deadline = time.monotonic() + 60
        while any(one["filling"] for one in client.get("/v1/segments").raise_for_status().json()["segments"]):
            if time.monotonic() > deadline:
                raise BenchError("the segments are still filling after 60 s")
            time.sleep(0.1)
