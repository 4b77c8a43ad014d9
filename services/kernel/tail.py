"""Topics as text: every record as one JSON object that a person can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.kernel import codec, headers
from services.kernel.closing import close
from services.kernel.events import RECORDS, Record
from services.kernel.identifier import HASH_SIZE, split
from services.kernel.outcome import BadRecord, CandorError, Outage
from services.kernel.settings import Settings
from services.kernel.topics import Topic, registry

_KINDS = {kind.schema: kind for kind in RECORDS}
_JSON = ("payload", "traits", "rule")
"""Fields of bytes that hold JSON."""


class UnknownTopic(CandorError):
    """The topic does not stand in the registry; the message lists those that do."""


async def tail(
    settings: Settings, topic: str, *, from_beginning: bool = False, idle_seconds: float | None = None
) -> AsyncGenerator[dict[str, Any], None]:
    """The topic's records as they come: ``partition, offset, key, headers, value``.

    Only committed records. Ends after ``idle_seconds`` without a record, never when that is None. A value
    that can't be decoded is shown as ``{"undecodable": reason}``. Raises UnknownTopic, Outage.
    """
    kind = _KINDS[_known(topic).schema]
    async with _reader(settings, topic) as (consumer, partitions):
        if not from_beginning:
            for tp, end in (await consumer.end_offsets(partitions)).items():
                consumer.seek(tp, end)
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while idle_seconds is None or loop.time() - heard < idle_seconds:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    heard = loop.time()
                    yield shown(record, kind)


async def held(settings: Settings, topic: str) -> AsyncGenerator[Any, None]:
    """All that the topic holds when this begins (aiokafka's ConsumerRecord). Raises UnknownTopic, Outage."""
    async with _reader(settings, topic) as (consumer, partitions):
        ends = await consumer.end_offsets(partitions)
        for tp in partitions:
            while await consumer.position(tp) < ends[tp]:
                for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                    for record in records:
                        if record.offset < ends[tp]:
                            yield record


@asynccontextmanager
async def _reader(settings: Settings, topic: str) -> AsyncIterator[tuple[Any, list[TopicPartition]]]:
    """A consumer of no group at the topic's beginning, with its partitions."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=200,
    )
    try:
        await consumer.start()
        partitions = [TopicPartition(settings.topic(topic), p) for p in range(_known(topic).partitions)]
        consumer.assign(partitions)
        yield consumer, partitions
    except (KafkaError, OSError) as error:
        raise Outage(f"Kafka at {settings.kafka}: {error or type(error).__name__}") from error
    finally:
        await close(consumer)


def _known(topic: str) -> Topic:
    known = registry()
    if topic not in known:
        raise UnknownTopic(f"no topic is named {topic}: {', '.join(known)}")
    return known[topic]


def shown(record: Any, kind: type[Record]) -> dict[str, Any]:
    """aiokafka's ConsumerRecord as plain JSON values; identifier hashes in hexadecimal."""
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": None if record.key is None else _hash_or_text(record.key),
        "headers": {name: _header(name, value) for name, value in record.headers},
        "value": _value(record.value, kind),
    }


def _value(data: bytes | None, kind: type[Record]) -> Any:
    if data is None:
        return None
    try:
        fields = msgspec.to_builtins(codec.decode(kind, data), builtin_types=(bytes,))
    except BadRecord as error:
        return {"undecodable": error.reason}
    return {name: _plain(name, value) for name, value in fields.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        if name in _JSON:
            with suppress(msgspec.DecodeError, UnicodeError):
                return msgspec.json.decode(value)
        return _hash_or_text(value)
    if isinstance(value, list):
        return [_plain(name, item) for item in value]
    return value


def _header(name: str, value: bytes) -> Any:
    if name == headers.IDENTIFIERS:
        return [hash.hex() for hash in split(value)]
    return _text(value)


def _text(data: bytes) -> str:
    """UTF-8 where it is printable text, else hexadecimal."""
    with suppress(UnicodeDecodeError):
        text = data.decode()
        if text.isprintable():
            return text
    return data.hex()


def _hash_or_text(data: bytes) -> str:
    """What has a hash's length is one: by chance it may be printable."""
    return data.hex() if len(data) == HASH_SIZE else _text(data)
