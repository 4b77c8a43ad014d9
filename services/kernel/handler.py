"""What a stage does with the records that the batch loop (consume.py) brings it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from services.kernel.outcome import CandorError, Dead

Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"
Batch: TypeAlias = dict[TopicPartition, list[Record]]


class PartitionStopped(CandorError):
    """Raised by ``refuse`` for a record that must neither be handled nor passed over."""

    def __init__(self, record: Record, why: Dead) -> None:
        super().__init__(f"{why.reason} at offset {record.offset}")
        self.partition = TopicPartition(record.topic, record.partition)


class Handler(Protocol):
    """What a stage does with its records. Topic names in TopicPartition are the cluster's (prefixed)."""

    async def assigned(self, partitions: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Called before the first record of newly assigned partitions; the offsets up to which the handler
        itself knows them done. They start there, or at Kafka's commit where that is earlier: an operator
        may have put it back."""
        ...

    async def handle(self, batch: Batch) -> int:
        """Do all that the records require, durably. Returns how many of them became dead letters.

        May be called again with the same records; must not be half done when it raises.
        """
        ...

    async def refuse(self, record: Record, why: Dead) -> None:
        """Put that one record aside for good, durably: handling it fails whatever is done.

        Raises PartitionStopped where records of that topic must not be passed over.
        """
        ...

    async def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Called after the commit with the next offset of each partition."""
        ...


class BaseHandler:
    """The defaults of a handler that keeps no offsets of its own."""

    async def assigned(self, partitions: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {}

    async def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        return None
