"""Leaving Kafka's clients the time to connect before they are cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from services.kernel.health import Health


async def connected(health: Health, seconds: float = 2) -> None:
    """Wait until every part is ready, or so long: aiokafka leaves the connection of a client open whose start
    is cancelled, and that would fail whichever test is running when it is collected."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not health.ready:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
