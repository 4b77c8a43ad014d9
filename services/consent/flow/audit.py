"""The audit log: acts enter the chain once, in the order of each partition; and what is read from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from aiokafka import TopicPartition

from services.consent import store
from services.consent.domain import audit
from services.consent.domain.audit import Act, End
from services.kernel import codec, metrics
from services.kernel.audit import TOPIC
from services.kernel.consume import BatchLoop
from services.kernel.events import AuditAct
from services.kernel.handler import BaseHandler, Batch, PartitionStopped, Record
from services.kernel.health import Health
from services.kernel.outcome import Dead
from services.kernel.postgres import Pool
from services.kernel.settings import Settings

STAGE = "audit"
GROUP = "consent-audit"
ROWS_AT_ONCE = 1000


def audit_loop(settings: Settings, pool: Pool, health: Health) -> BatchLoop:
    """The loop that feeds the chain."""
    return BatchLoop(settings, group=GROUP, topics=[TOPIC], handler=Chain(pool), stage=STAGE, health=health)


class Chain(BaseHandler):
    """Appends audit.acts to the log: each record once, however often it is brought and by how many. One that
    can't be read stops its partition: no act is passed over."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def assigned(self, partitions: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        async with self._pool.acquire() as connection:
            next_offsets = await store.audit_offsets(connection)
        return {tp: next_offsets[tp.partition] for tp in partitions if tp.partition in next_offsets}

    async def handle(self, batch: Batch) -> int:
        """Raises BadRecord for an act that can't be read."""
        given = {
            (record.partition, record.offset): codec.decode(AuditAct, record.value)
            for records in batch.values()
            for record in records
        }
        rows = []
        async with self._pool.acquire() as connection, connection.transaction():
            end = await store.lock_audit(connection)
            known = await store.audited(connection, given)
            for (partition, offset), act in given.items():
                if (partition, offset) not in known:
                    row, end = audit.append(end, partition, offset, act)
                    rows.append(row)
            if rows:
                await store.append_audit(connection, rows, end)
        metrics.RECORDS.labels(STAGE, "ok").inc(len(rows))
        return 0

    async def refuse(self, record: Record, why: Dead) -> None:
        raise PartitionStopped(record, why)


async def verify_audit(pool: Pool) -> AsyncIterator[End | str]:
    """What is wrong with the log, or the end of its chain when no row was altered, moved, added or removed.

    Reads it whole, in its order. An end cut off together with the row that remembers the end can only be
    found by who kept an earlier hash.
    """
    async with pool.acquire() as connection:
        stored = await store.audit_end(connection)
        end = End(0, audit.START)
        while rows := await store.audit_rows(connection, end.position, ROWS_AT_ONCE):
            for found in audit.broken(rows, end):
                if isinstance(found, str):
                    yield found
                    return
                end = found
                if end.position == stored.position and end != stored:
                    yield f"position {end.position}: the chain ended otherwise"
                    return
        if end.position < stored.position:
            yield f"position {end.position + 1}: the end of the chain is missing"
        else:
            yield end


async def acts_between(pool: Pool, since: int, until: int) -> AsyncIterator[Act]:
    """The acts of that time (µs; ``until`` excluded), in the order of the log."""
    position = 0
    async with pool.acquire() as connection:
        while rows := await store.audit_rows(connection, position, ROWS_AT_ONCE, since, until):
            for row in rows:
                yield audit.read_act(row)
            position = rows[-1].position
