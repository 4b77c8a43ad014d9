"""Baseline of profile: Postgres alone, reading, changing and writing back as many rows as there are events.

2,000 distinct rows a transaction: select for update, change a byte, one update from unnest, commit.

python -m tests.bench.baselines.postgres DSN ROWS RESULT
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import asyncpg
import uvloop

PEOPLE = 200_000
STATE_BYTES = 600
ROWS_A_TRANSACTION = 2_000


async def _prepare(connection: asyncpg.Connection) -> list[bytes]:
    await connection.execute("CREATE TABLE facet (id bytea PRIMARY KEY, state bytea NOT NULL)")
    draw = random.Random(20)  # noqa: S311 - a workload, not a secret
    ids = [draw.randbytes(16) for _ in range(PEOPLE)]
    await connection.copy_records_to_table(
        "facet", records=((one, draw.randbytes(STATE_BYTES)) for one in ids)
    )
    await connection.execute("VACUUM ANALYZE facet")
    return ids


async def run(dsn: str, rows: int) -> dict[str, float]:
    """Rows, seconds and CPU seconds of this process."""
    connection = await asyncpg.connect(dsn)
    ids = await _prepare(connection)
    draw = random.Random(21)  # noqa: S311 - a workload, not a secret
    chosen = [sorted(draw.sample(ids, ROWS_A_TRANSACTION)) for _ in range(max(1, rows // ROWS_A_TRANSACTION))]
    cpu, started = time.process_time(), time.monotonic()
    for keys in chosen:
        async with connection.transaction():
            found = await connection.fetch("SELECT id, state FROM facet WHERE id = ANY($1) FOR UPDATE", keys)
            states = [row["state"][1:] + b"x" for row in found]
            await connection.execute(
                "UPDATE facet SET state = new.state FROM unnest($1::bytea[], $2::bytea[]) AS new (id, state) "
                "WHERE facet.id = new.id",
                [row["id"] for row in found],
                states,
            )
    seconds = time.monotonic() - started
    await connection.close()
    return {"rows": len(chosen) * ROWS_A_TRANSACTION, "seconds": seconds, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    dsn, rows, result = sys.argv[1:]
    Path(result).write_text(json.dumps(uvloop.run(run(dsn, int(rows)))))
