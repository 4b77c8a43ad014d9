"""The audit log: acts enter the chain once, tampering is named, and what was exposed can be listed."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result

from services.cli import candor
from services.consent.domain.audit import Act, End
from services.consent.flow.audit import Chain, acts_between, audit_loop, verify_audit
from services.kernel import codec, headers, keys
from services.kernel.audit import MAX_REASON, TOPIC, Actor, Audit, Exposed
from services.kernel.clock import HOUR, SystemClock
from services.kernel.events import DeadLetter, Event
from services.kernel.handler import Batch
from services.kernel.health import Health
from services.kernel.identifier import join
from services.kernel.message import Message
from services.kernel.outcome import Outage
from services.kernel.postgres import Pool, connect
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from tests.support.audit import acts, audit_of, batch
from tests.support.clock import ManualClock
from tests.support.outside import eventually
from tests.support.services import environment_of

ADA, BOB = b"a" * 16, b"b" * 16
DESK = Actor("1a2b3c4d", "desk", "asked on the phone")
NEVER = 1 << 60


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    pool = await connect(settings, "consent")
    yield pool
    await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
async def audit(settings: Settings) -> AsyncIterator[Audit]:
    async with audit_of(settings, SystemClock(), "profile") as audit:
        yield audit


async def chain(settings: Settings, pool: Pool) -> None:
    """Run the loop until the log holds all that the topic does."""
    wanted = sum(map(len, (await batch(settings)).values()))
    loop = asyncio.create_task(audit_loop(settings, pool, Health("consent")).run())

    async def whole() -> bool:
        return await pool.fetchval("SELECT count(*) FROM audit") == wanted  # type: ignore[no-any-return]

    await eventually(whole)
    loop.cancel()
    await asyncio.wait({loop})


async def verified(pool: Pool) -> list[End | str]:
    return [found async for found in verify_audit(pool)]


async def logged(pool: Pool) -> list[Act]:
    return [act async for act in acts_between(pool, 0, NEVER)]


async def run(settings: Settings, *arguments: str) -> Result:
    """The command line, as in a process of its own."""
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(candor, arguments, env=environment_of(settings), catch_exceptions=True)
    )


async def test_acts_enter_the_log_once_however_often_and_by_how_many_they_are_brought(
    settings: Settings, pool: Pool, audit: Audit
) -> None:
    for number in range(30):
        await audit.note(Actor(f"key {number % 7}", "desk"), "profile.read", profiles=[ADA], people=1)
    await chain(settings, pool)
    again = await batch(settings)
    halves: list[Batch] = [{tp: records[:2] for tp, records in again.items()}, again]
    assert sum(map(len, again.values())) == 30
    await asyncio.gather(*(Chain(pool).handle(half) for half in halves * 2))
    assert len(await logged(pool)) == 30
    for _ in range(3):
        await audit.note(DESK, "profile.read", profiles=[BOB], people=1)
    new = await batch(settings)
    await asyncio.gather(*(Chain(pool).handle(new) for _ in range(4)))
    assert len(await logged(pool)) == 33
    (end,) = await verified(pool)
    assert isinstance(end, End)
    assert end.position == 33


async def test_the_loop_goes_on_where_the_log_ends_even_if_its_commit_was_lost(
    settings: Settings, pool: Pool, audit: Audit
) -> None:
    await audit.note(DESK, "profile.read", people=1)
    await Chain(pool).handle(await batch(settings))
    await audit.note(DESK, "profile.links", people=1)
    await chain(settings, pool)
    assert [act.action for act in await logged(pool)] == ["profile.read", "profile.links"]


async def test_an_act_that_can_not_be_read_stops_its_partition_and_turns_readiness_red(
    settings: Settings, pool: Pool
) -> None:
    producer = BatchProducer(settings, "test")
    await producer.start()
    await producer.produce(TOPIC, 1, [Message(b"k", b"nonsense")])
    await producer.stop()
    health = Health("consent")
    loop = asyncio.create_task(audit_loop(settings, pool, health).run())

    async def stopped() -> bool:
        return any("partition 1" in part for part in health.reasons())

    await eventually(stopped)
    loop.cancel()
    await asyncio.wait({loop})
    assert await logged(pool) == []


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET act = replace(act, 'desk', 'dusk') WHERE position = 3", "position 3: altered"),
        ("UPDATE audit SET at = at + 1 WHERE position = 2", "position 2: altered"),
        ("DELETE FROM audit WHERE position = 4", "position 4: the row is missing"),
        ("DELETE FROM audit WHERE position = 5", "position 5: the end of the chain is missing"),
        (
            "UPDATE audit a SET act = b.act, hash = b.hash, at = b.at, partition = b.partition + 100,"
            ' "offset" = b."offset" FROM audit b WHERE b.position = 5 - a.position AND a.position IN (2, 3)',
            "position 2: altered or moved",
        ),
    ],
)
async def test_a_row_that_was_tampered_with_is_named(
    settings: Settings, pool: Pool, audit: Audit, statement: str, fault: str
) -> None:
    for _ in range(5):
        await audit.note(DESK, "profile.read", profiles=[ADA], people=1)
    await chain(settings, pool)
    with pytest.raises(asyncpg.RaiseError, match="only appended to"):
        await pool.execute(statement)
    assert (await run(settings, "verify", "audit")).exit_code == 0
    await pool.execute("ALTER TABLE audit DISABLE TRIGGER append_only")
    await pool.execute(statement)
    (found,) = await verified(pool)
    assert fault in str(found)
    result = await run(settings, "verify", "audit")
    assert result.exit_code == 1
    assert fault in result.output


async def test_what_was_exposed_since_a_time_is_listed(settings: Settings, pool: Pool) -> None:
    clock = ManualClock()
    async with audit_of(settings, clock, "profile") as audit:
        await audit.note(DESK, "profile.read", profiles=[BOB], people=1)
        clock.advance(HOUR)
        since = clock.now()
        await audit.note(DESK, "profile.read", profiles=[ADA], people=1)
        await audit.note(DESK, "profile.read", profiles=[ADA], identifiers=[BOB], people=1)
        await audit.note(DESK, "segments.members", target="vip", people=40)
        await audit.note(DESK, "segments.put", target="vip", outcome="refused")
        clock.advance(HOUR)
        until = clock.now()
        await audit.note(DESK, "profile.events", profiles=[BOB], people=1)
    await chain(settings, pool)
    span = ["--since", iso(since), "--until", iso(until)]
    lines = (await run(settings, "breach", *span)).output.splitlines()
    rows = [line.split()[:7] for line in lines[1:]]
    assert rows == [
        ["1a2b3c4d", "desk", "profile", "profile.read", "allowed", "2", "1"],
        ["1a2b3c4d", "desk", "profile", "segments.members", "allowed", "1", "40"],
        ["1a2b3c4d", "desk", "profile", "segments.put", "refused", "1", "0"],
    ]
    told = [json.loads(line) for line in (await run(settings, "breach", *span, "--json")).output.splitlines()]
    assert [act["action"] for act in told] == ["profile.read"] * 2 + ["segments.members", "segments.put"]
    assert (told[1]["profiles"], told[1]["identifiers"]) == ([ADA.hex()], [BOB.hex()])
    assert told[1]["why"] == "asked on the phone"
    asked = [act for act in await acts(settings) if act.action == "breach.list"]
    assert len(asked) == 2, "who looks at the log stands in it"


def iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat()


async def test_what_the_command_line_does_and_shows_is_logged(settings: Settings) -> None:
    why = ["--reason", "Störung 7\n" + "x" * 600]
    made = await run(settings, "keys", "create", "crm", "--kind", "server", "--source", "crm", *why)
    assert keys.KeyRing(settings.keyring).bearer(made.output.strip()) is not None
    (key,) = keys.list_keys(settings.keyring)
    assert (await run(settings, "keys", "rotate", "crm", "--grace", "0s")).exit_code == 0
    assert (await run(settings, "keys", "revoke", key.id)).output == "crm is revoked\n"
    found = await acts(settings)
    assert [(act.action, act.target) for act in found] == [
        (f"keys.{what}", f"{key.id} crm") for what in ("create", "rotate", "revoke")
    ]
    assert {(act.key_id, act.actor, act.service) for act in found} == {(None, getpass.getuser(), "cli")}
    assert found[0].why == ("Störung 7 " + "x" * 600)[:MAX_REASON]

    producer = BatchProducer(settings, "test")
    await producer.start()
    event = Event("m", "web", "track", "Bought", "u", None, None, None, 1, False, 2, 0, b"{}")
    named = [(headers.IDENTIFIERS, join([ADA, BOB]))]
    await producer.produce("events.collected", 2, [Message(ADA, codec.encode(event), named)])
    letter = DeadLetter("bad", "ingest", "", None, None, None, "web", 1, b"{}")
    await producer.produce("deadletters", 3, [Message(BOB, codec.encode(letter))])
    await producer.stop()
    shown = await run(settings, "tail", "events.collected", "--json", "--from-beginning", "--max", "1")
    assert json.loads(shown.output)["value"]["user_id"] == "u"
    assert (await run(settings, "deadletters", "show", "3:0")).exit_code == 0
    assert (await run(settings, "tail", "--source", "web", "--timeout", "0.1")).exit_code == 0
    begun, tailed, letter_shown, followed = (await acts(settings))[3:]
    assert (begun.action, begun.target, begun.people) == ("topic.tail", "events.collected", 0)
    assert (tailed.target, tailed.identifiers, tailed.people) == ("events.collected", [ADA, BOB], 2)
    assert (letter_shown.action, letter_shown.target) == ("deadletters.show", "3:0")
    assert (letter_shown.identifiers, letter_shown.people) == ([BOB], 1)
    assert (followed.action, followed.target, followed.people) == ("sources.tail", "web", 0)


async def test_the_command_line_does_and_shows_nothing_that_can_not_be_logged(
    settings: Settings, alone: dict[str, Any]
) -> None:
    token = keys.create(settings.keyring, "shop", "write", "shop")
    for arguments in (["keys", "revoke", "shop"], ["keys", "create", "new", "--kind", "admin"]):
        result = await asyncio.to_thread(CliRunner().invoke, candor, arguments, env=alone)
        assert isinstance(result.exception, Outage)
    assert [key.name for key in keys.list_keys(settings.keyring)] == ["shop"]
    assert keys.KeyRing(settings.keyring).write_key(token) is not None


@pytest.fixture
def alone(settings: Settings) -> dict[str, Any]:
    """The environment of a command that finds no Kafka."""
    return environment_of(settings) | {"CANDOR_KAFKA": "127.0.0.1:1"}


async def test_who_is_shown_in_a_stream_is_logged_before_the_first_and_about_once_a_second(
    settings: Settings, audit: Audit
) -> None:
    exposed = Exposed(audit, DESK, "segments.stream", "vip")
    await exposed.begin()
    await exposed.show(profile=ADA)
    assert [act.profiles for act in await acts(settings)] == [[], [ADA]]
    others = [number.to_bytes(16, "big") for number in range(1100)]
    for profile in others:
        await exposed.show(profile=profile)
    await exposed.log()
    await exposed.log()
    found = (await acts(settings))[2:]
    assert len(found) <= 4
    assert sorted(profile for act in found for profile in act.profiles) == others
    assert sum(act.people for act in found) == 1100
