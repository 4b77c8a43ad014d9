from __future__ import annotations

import asyncio

import asyncpg
import pytest

from services.kernel import postgres
from services.kernel.postgres import own_connection
from services.kernel.settings import Settings


async def test_a_connection_of_ones_own_goes_with_all_that_is_left_on_it(settings: Settings) -> None:
    """Also in the midst of a statement, and when the server closed it: then nothing more can be undone on it,
    and the pool has to get its place back."""
    postgres.migrate(settings, "consent")
    pool = await postgres.connect(settings, "consent", size=1)
    try:
        with pytest.raises(asyncpg.InterfaceError, match="another operation"):
            async with own_connection(pool) as connection:
                await connection.add_listener("channel", print)
                waiting = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
                await asyncio.sleep(0)  # it has begun
                await connection.execute("SELECT 1")
        await asyncio.wait({waiting})
        assert isinstance(waiting.exception(), asyncpg.PostgresConnectionError)
        with pytest.raises(asyncpg.PostgresConnectionError):
            async with own_connection(pool) as connection:
                await connection.add_listener("channel", print)
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        async with asyncio.timeout(10):
            assert await pool.fetch("SELECT pg_listening_channels()") == []
    finally:
        pool.terminate()
