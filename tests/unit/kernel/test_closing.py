"""A client that closes badly must not look like a cancellation of whoever closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.kernel.closing import close


class Client:
    """Stands for aiokafka's consumer: what `stop` does is the test's choice."""

    def __init__(self, stop: Callable[[], Awaitable[None]]) -> None:
        self.stop = stop
        self.connections_closed = asyncio.Event()
        self._client = self
        self.close = self._close

    async def _close(self) -> None:
        self.connections_closed.set()


async def cancelled() -> None:
    raise asyncio.CancelledError


async def failed() -> None:
    raise AssertionError("a transaction was under way")


async def endless() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("stop", [cancelled, failed, endless])
async def test_closing_ends_whatever_the_client_does(stop: Callable[[], Awaitable[None]]) -> None:
    client = Client(stop)
    await close(client, 0.01)
    async with asyncio.timeout(5):
        await client.connections_closed.wait()


async def test_our_own_cancellation_goes_through() -> None:
    client = Client(endless)
    closing = asyncio.create_task(close(client))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
