"""What is written to Kafka: a record to write, its size and its partition."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_BATCH_BYTES = 1_000_000
MAX_RECORD_BYTES = 900_000


class Message(NamedTuple):
    """A record to write."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()

    def size(self) -> int:
        return (
            len(self.key or b"")
            + len(self.value or b"")
            + sum(len(name) + len(data) + 4 for name, data in self.headers)
            + 24
        )


def add(batch: Any, message: Message) -> bool:
    """Append to aiokafka's batch builder; False when it is full."""
    key, value, headers = message
    if type(headers) is not list:
        headers = list(headers)
    return batch.append(timestamp=None, key=key, value=value, headers=headers) is not None


def partition_of(key: bytes, count: int) -> int:
    """The partition of a key. Our own, as Kafka's murmur2 is slow in Python; every producer uses this one."""
    return zlib.crc32(key) % count
