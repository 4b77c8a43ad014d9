"""`candor tail --source`: what becomes of each event of a source, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.kernel.clock import SECOND, SystemClock
from services.kernel.policy import Policies
from services.kernel.recent.book import ENDS
from services.kernel.recent.following import Follower, new_book
from services.kernel.settings import Settings


async def follow(
    settings: Settings, source: str, idle_seconds: float | None
) -> AsyncGenerator[dict[str, Any], None]:
    """An event of the source each time that more is known of it, as :meth:`Book.shown` shows it. Ends after
    ``idle_seconds`` without news, never when that is None. Raises Outage, InvalidPolicy."""
    news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    clock = SystemClock()
    policies = Policies(settings.policy, clock)
    book = new_book(settings, policies, clock, lambda seen: news.put_nowait(book.shown(seen)))
    book.watch(source)
    follower = Follower(settings, book)
    running = asyncio.create_task(follower.run())
    try:
        await _first(running, follower.following.wait(), None)
        while (event := await _first(running, news.get(), idle_seconds)) is not None:
            yield event
    finally:
        running.cancel()
        await asyncio.wait({running})


async def _first(running: asyncio.Task[None], waited: Any, seconds: float | None) -> Any:
    """What is waited for, None when it does not come in time. Raises what ended the follower."""
    waiting = asyncio.ensure_future(waited)
    try:
        await asyncio.wait({running, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        return waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()


async def show(
    settings: Settings, source: str, *, as_json: bool, most: int | None, idle_seconds: float | None
) -> None:
    """Print a line for every step of every event; stop after ``most`` events have ended."""
    ended = 0
    async with aclosing(follow(settings, source, idle_seconds)) as news:
        async for event in news:
            print(msgspec.json.encode(event).decode() if as_json else line(event), flush=True)
            ended += event["outcome"] in ENDS
            if ended == most:
                return


def line(event: dict[str, Any]) -> str:
    """The last thing that is known of an event, for people."""
    stage, last = list(event["stages"].items())[-1]
    moment = datetime.fromtimestamp(last["seen_at"] / SECOND, UTC).strftime("%H:%M:%S.%f")[:-3]
    name = " ".join(filter(None, (event["type"], event["event"])))
    notes = [
        "masked" if event["masked"] and stage == "ingest" else "",
        f"denied: {', '.join(last['denied'])}" if "denied" in last else "",
        f"{event['reason']} {event['detail']}" if "reason" in event else "",
    ]
    text = f"{moment}  {last['outcome']:<9}  {event['message_id'] or '-'}  {name or '-'}"
    return "  ".join([text, *filter(None, notes)])
