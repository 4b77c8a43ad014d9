"""Closing Kafka clients so that a broker that does not answer harms nobody."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka.client import AIOKafkaClient

log = logging.getLogger(__name__)


async def close(client: Any, seconds: float = 5) -> None:
    """Stop an aiokafka consumer, producer or client, or give up after so long. Raises nothing but the
    caller's own cancellation.

    In a task of its own: `stop` cancels and awaits aiokafka's own tasks, and lets their CancelledError out
    (fetcher.close, aiokafka 0.14). It would pass for the caller's cancellation and end its task.
    """
    stopping = asyncio.create_task(_stop(client))
    done, _ = await asyncio.wait({stopping}, timeout=seconds)
    if not done:
        stopping.cancel()
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.info("client did not close in order", extra={"why": type(error).__name__})


async def _stop(client: Any) -> None:
    if isinstance(client, AIOKafkaClient):
        await client.close()
        return
    try:
        await client.stop()
    finally:
        # Where stop broke off before this, connections and the metadata task would stay for ever.
        await client._client.close() if hasattr(client, "_client") else await client.client.close()
