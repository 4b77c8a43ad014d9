"""Baseline of ingest: the least that takes HTTP batches and answers 200 once every event is durable.

Bare ASGI on uvicorn, orjson, one aiokafka `send` an event, acks=all with idempotence, all acks awaited. It
validates, masks and stamps nothing. Batch size and linger were tuned for it (docs/benchmarks.md).

python -m tests.bench.baselines.echo PORT KAFKA TOPIC
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson
import uvicorn
from aiokafka import AIOKafkaProducer

HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"16")]


class Echo:
    def __init__(self, kafka: str, topic: str) -> None:
        self._kafka, self._topic = kafka, topic
        self._producer: AIOKafkaProducer | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        assert self._producer is not None
        acks = [
            await self._producer.send(
                self._topic, orjson.dumps(event), key=(event.get("userId") or event["anonymousId"]).encode()
            )
            for event in orjson.loads(body)["batch"]
        ]
        await asyncio.gather(*acks)
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b'{"success":true}'})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            acks="all",
            enable_idempotence=True,
            max_batch_size=512 * 1024,
            linger_ms=2,
        )
        await self._producer.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._producer.stop()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    port, kafka, topic = sys.argv[1:]
    uvicorn.run(Echo(kafka, topic), port=int(port), loop="uvloop", http="httptools", access_log=False)
