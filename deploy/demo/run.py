"""The demo from beginning to end, against a stack that runs already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp
import requests
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import Progress, TaskID

from deploy.demo import checks, ledger, plan, records, screen
from deploy.demo.account import Account
from deploy.demo.api import Services, counts
from deploy.demo.calls import Call
from deploy.demo.checks import LOGS, Check
from deploy.demo.ledger import Ledger
from deploy.demo.measured import Measured, Membership
from deploy.demo.plan import OptOut, Plan
from deploy.demo.player import Player
from deploy.demo.segments import SEGMENTS
from deploy.demo.topics import Quiet, Reader, living_keys
from services.kernel.outcome import CandorError
from services.kernel.settings import Settings

WATCHED = ("events.collected", "events.permitted", "deadletters", "profiles.state", "segments.transitions")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class NotPlayed(CandorError):
    """A service or Kafka did not answer; the message says what happened."""


def main(settings: Settings, keys: Mapping[str, str], began: float, shop: str | None) -> bool:
    """Play the shop and print the account; whether every check held.

    ``keys``: tokens of demo-web, demo-server and admin; ``began``: when the whole demo did, monotonic;
    ``shop``: address of the one that can be visited.
    Raises CandorError when it could not be played to the end.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        books, found = asyncio.run(_main(settings, keys, console))
    except (aiohttp.ClientError, requests.RequestException, KafkaError, TimeoutError) as error:
        raise NotPlayed(f"the demo stopped: {type(error).__name__}: {error}\nsee {LOGS}") from error
    screen.close(console, settings, books, found, time.monotonic() - began, shop)
    return all(check.held for check in found)


async def _main(settings: Settings, keys: Mapping[str, str], console: Console) -> tuple[Ledger, list[Check]]:
    console.print(screen.OPENING)
    now = datetime.now(UTC)
    play = plan.make(now, _run_code(now))
    books = ledger.of(play)
    async with Services(settings, keys["admin"]) as services:
        quiet = Quiet(settings)
        for segment in SEGMENTS:
            await services.define(segment)
        await quiet.reached()
        existing = await living_keys(settings, "profiles.state")
        measured = await _play(play, settings, services, quiet, keys, console)
    account = Account(books, measured)
    found = checks.of(account)
    screen.show(console, account, found, existing)
    return books, found


async def _play(
    play: Plan,
    settings: Settings,
    services: Services,
    quiet: Quiet,
    keys: Mapping[str, str],
    console: Console,
) -> Measured:
    """Play it while reading the topics and the stream alongside."""
    members = {segment.key: await services.members(segment.key) for segment in SEGMENTS}
    before = await services.samples()
    player = Player(services.url("ingest"), services.url("consent"), keys)
    async with Reader(settings, WATCHED) as reader, services.subscribe() as subscriber:
        with screen.progress(console) as bars:
            acted = await _acts(play, player, quiet, bars)
        await asyncio.to_thread(player.close)
        await quiet.reached()
        await reader.caught_up()
        await subscriber.received(len(reader.records["segments.transitions"]))
        after = await services.samples()
        grown = await reader.grown("events.collected")
    return Measured(
        sdk_errors=player.errors,
        acknowledged=acted.acknowledged,
        counts=counts(after - before),
        written=grown - records.ticks(reader.records["events.collected"]),
        collected=records.deliveries(reader.records["events.collected"], play.run),
        permitted=records.deliveries(reader.records["events.permitted"], play.run),
        refused=records.refused(reader.records["deadletters"]),
        card_numbers=records.card_numbers(reader.records),
        profiles=records.golden(reader.records["profiles.state"], play.run),
        transitions=records.transitions(reader.records["segments.transitions"]),
        told=subscriber.told,
        memberships={key: Membership(was, await services.members(key)) for key, was in members.items()},
        answered=acted.answered,
        speed=acted.speed,
        steady=acted.steady,
    )


class _Acted(NamedTuple):
    """What the player measured itself: see Measured."""

    acknowledged: dict[str, int]
    answered: dict[str, float]
    speed: float
    steady: float


async def _acts(play: Plan, player: Player, quiet: Quiet, bars: Progress) -> _Acted:
    """The acts in order."""
    fast = bars.add_task("events", total=len(play.before) + len(play.after))
    seconds = await _full_speed(play.before, player, fast, bars)
    leaving = bars.add_task("opt-outs at half time", total=len(play.opt_outs))
    acknowledged = await _opt_out(play, player, True, leaving, bars)
    await quiet.reached()
    acknowledged |= await _opt_out(play, player, False, leaving, bars)
    seconds += await _full_speed(play.after, player, fast, bars)
    await quiet.reached()  # else freshness would measure how the rest of full speed is worked off
    slow = bars.add_task("events, steadily", total=len(play.steady) + len(play.probes))
    began = time.monotonic()
    _, answered = await asyncio.gather(
        asyncio.to_thread(player.play_steadily, play.steady, lambda number: bars.advance(slow, number)),
        asyncio.to_thread(player.probe, play.probes, lambda number: bars.advance(slow, number)),
    )
    steady = (len(play.steady) + len(play.probes)) / (time.monotonic() - began)
    return _Acted(acknowledged, answered, (len(play.before) + len(play.after)) / seconds, steady)


async def _full_speed(calls: Sequence[Call], player: Player, task: TaskID, bars: Progress) -> float:
    """Play the calls; the seconds that it took."""
    began = time.monotonic()
    await asyncio.to_thread(player.play, calls, lambda number: bars.advance(task, number))
    return time.monotonic() - began


async def _opt_out(play: Plan, player: Player, in_flow: bool, task: TaskID, bars: Progress) -> dict[str, int]:
    decisions: list[OptOut] = [one for one in play.opt_outs if one.in_flow is in_flow]
    return await asyncio.to_thread(player.opt_out, decisions, lambda number: bars.advance(task, number))


def _run_code(now: datetime) -> str:
    """A short name for this run, later ones sorting behind earlier ones."""
    number, code = int(now.timestamp()) - 1_700_000_000, ""
    while number:
        number, digit = divmod(number, 36)
        code = _DIGITS[digit] + code
    return code
