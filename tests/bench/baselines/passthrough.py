"""Baseline of the gate, and one hop of freshness' baseline: the least that moves records from topic to topic.

getmany, the same bytes into batches by partition, send_batch, all acks (acks=all, idempotent), commit.

python -m tests.bench.baselines.passthrough KAFKA SOURCE TARGET
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

RECORDS = 5_000
BATCH_BYTES = 1_000_000


async def _forward(
    producer: AIOKafkaProducer, target: str, batch: dict[TopicPartition, list[ConsumerRecord]]
) -> None:
    acks = []
    for tp, records in batch.items():
        builder = producer.create_batch()
        for record in records:
            value, key, headers = record.value, record.key, list(record.headers)
            if builder.append(key=key, value=value, timestamp=None, headers=headers) is None:
                acks.append(await producer.send_batch(builder, target, partition=tp.partition))
                builder = producer.create_batch()
                builder.append(key=key, value=value, timestamp=None, headers=headers)
        acks.append(await producer.send_batch(builder, target, partition=tp.partition))
    await asyncio.gather(*acks)


async def run(kafka: str, source: str, target: str) -> None:
    """Until SIGTERM."""
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=kafka,
        group_id=f"{target}-passthrough",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 * BATCH_BYTES,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        max_request_size=2 * BATCH_BYTES,
    )
    await consumer.start()
    await producer.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    try:
        while not stopping.is_set():
            batch = await consumer.getmany(timeout_ms=200, max_records=RECORDS)
            if batch:
                await _forward(producer, target, batch)
                await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    uvloop.run(run(*sys.argv[1:4]))
