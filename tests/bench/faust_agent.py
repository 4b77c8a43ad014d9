"""What a Faust agent costs against aiokafka's getmany, and what becomes of records whose handler raised.

    python -m tests.bench.faust_agent [--records 200000]

One process, one partition, 285-byte records; the broker is CANDOR_KAFKA's. Prints one JSON object a line.
See docs/adr/0002-faust-for-schedules.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import tempfile
import time
import uuid
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

VALUE = b"x" * 285
FAILING = 5


async def fill(kafka: str, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        batch = producer.create_batch()
        for _ in range(count):
            if batch.append(key=None, value=VALUE, timestamp=None) is None:
                await producer.send_batch(batch, topic, partition=0)
                batch = producer.create_batch()
                batch.append(key=None, value=VALUE, timestamp=None)
        await producer.send_batch(batch, topic, partition=0)
        await producer.flush()
    finally:
        await producer.stop()


async def by_getmany(kafka: str, topic: str, count: int) -> float:
    """Records/s."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, group_id=f"{topic}-getmany", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        seen, first, started = 0, 0, 0.0
        while seen < count:
            batches = await consumer.getmany(timeout_ms=1000, max_records=5000)
            seen += sum(map(len, batches.values()))
            if not started and seen:
                first, started = seen, time.perf_counter()
        return (seen - first) / (time.perf_counter() - started)
    finally:
        await consumer.stop()


def agent_app(kafka: str, name: str) -> Any:
    return faust.App(
        name,
        broker=f"kafka://{kafka}",
        store="memory://",
        datadir=tempfile.mkdtemp(),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
    )


async def by_agent(kafka: str, topic: str, count: int) -> float:
    """Records/s."""
    app = agent_app(kafka, f"{topic}-agent")
    seen, started, done = 0, 0.0, asyncio.Event()

    async def count_records(stream: Any) -> None:
        nonlocal seen, started
        async for _ in stream:
            started = started or time.perf_counter()
            seen += 1
            if seen == count:
                done.set()

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))(count_records)
    await app.start()
    try:
        await done.wait()
        return seen / (time.perf_counter() - started)
    finally:
        await app.stop()


async def acked_though_it_raised(kafka: str, topic: str) -> int:
    """The group's committed offset after an agent raised for every one of FAILING records."""
    name = f"{topic}-raising"
    app = agent_app(kafka, name)
    seen, done = 0, asyncio.Event()

    async def refuse(stream: Any) -> None:
        nonlocal seen
        async for _ in stream:
            seen += 1
            if seen == FAILING:
                done.set()
            raise ValueError

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))(refuse)
    await app.start()
    try:
        await done.wait()
    finally:
        await app.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=name, enable_auto_commit=False)
    await consumer.start()
    try:
        return await consumer.committed(TopicPartition(topic, 0)) or 0
    finally:
        await consumer.stop()


async def main(records: int) -> None:
    kafka = os.environ.get("CANDOR_KAFKA", "127.0.0.1:9092")
    run = f"bench-faust-{uuid.uuid4().hex[:8]}"
    topics = {run: records, f"{run}-raising": FAILING}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
        for topic, count in topics.items():
            await fill(kafka, topic, count)
        baseline = await by_getmany(kafka, run, records)
        agent = await by_agent(kafka, run, records)
        figures = {"value": round(agent), "unit": "records/s", "baseline": round(baseline)}
        print(json.dumps({"name": "faust_agent", **figures, "ratio": round(agent / baseline, 3)}))
        acked = await acked_though_it_raised(kafka, f"{run}-raising")
        print(json.dumps({"name": "faust_acked_though_raised", "value": acked, "unit": f"of {FAILING}"}))
    finally:
        await admin.delete_topics(list(topics))
        await admin.close()


if __name__ == "__main__":
    logging.disable()  # Faust logs each failure with its trace
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    asyncio.run(main(parser.parse_args().records))
