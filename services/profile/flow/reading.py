"""From records of events.permitted to what they say; what says nothing usable becomes a dead letter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from services.kernel import codec, headers
from services.kernel.clock import DAY
from services.kernel.events import Event
from services.kernel.handler import Record
from services.kernel.identifier import Hasher, split
from services.kernel.outcome import BadRecord, Dead
from services.kernel.permission import Stamp
from services.profile.domain.observation import Observation, observe
from services.profile.store import DAYS_AHEAD, WINDOW_DAYS


class Readable(NamedTuple):
    """An event of the batch. ``ids``: hashes of all its identifiers; ``key``: see :func:`message_key`;
    ``started``: when its request began, µs."""

    record: Record
    ids: list[bytes]
    stamp: bytes | None
    seen: Observation
    day: int
    key: bytes
    started: int


@dataclass(slots=True)
class Reading:
    """A batch, read. ``behind``: facets of records that Postgres has already; ``ends``: next offset by
    partition, where the batch has anything new. ``tests``: how many test events, which are not applied."""

    readable: list[Readable] = field(default_factory=list)
    dead: list[tuple[Record, Dead]] = field(default_factory=list)
    behind: set[bytes] = field(default_factory=set)
    ends: dict[int, int] = field(default_factory=dict)
    tests: int = 0


class Reader:
    """Reads records with the deployment's identifier key."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher

    def read(self, records: Iterable[tuple[Record, int]], now: int) -> Reading:
        """``records``: each with the offset up to which Postgres has applied its partition."""
        reading = Reading()
        today = now // DAY
        for record, applied_to in records:
            if record.offset < applied_to:
                reading.behind.update(split(headers.value(record.headers, headers.IDENTIFIERS) or b"")[:1])
                continue
            reading.ends[record.partition] = record.offset + 1
            if headers.value(record.headers, headers.TEST) is not None:
                reading.tests += 1
                continue
            try:
                reading.readable.append(self._read(record, today))
            except BadRecord as error:
                reading.dead.append((record, Dead(error.reason, error.detail)))
        return reading

    def _read(self, record: Record, today: int) -> Readable:
        event = codec.decode(Event, record.value)
        seen = observe(event, self._hasher)
        ids = split(headers.value(record.headers, headers.IDENTIFIERS) or b"")
        # The gate judged the header's identifiers: they must be those of the event.
        if seen.facet not in ids or not all(link.child in ids for link in seen.links):
            raise BadRecord("identifiers_differ", f"header {headers.IDENTIFIERS}")
        if not today - WINDOW_DAYS <= event.received_day <= today + DAYS_AHEAD:
            raise BadRecord("outside_window", "received_day")
        stamp = headers.value(record.headers, headers.STAMP)
        if stamp is not None:
            Stamp.from_header(stamp)  # raises here rather than when it is judged
        key = message_key(event.source, event.message_id)
        started = headers.value(record.headers, headers.STARTED)
        begun = int(started) if started is not None and started.isdigit() else event.received_at
        return Readable(record, ids, stamp, seen, event.received_day, key, begun)


def message_key(source: str, message_id: str) -> bytes:
    """What stands for a message id in the deduplication table: 16 bytes."""
    return blake2b(f"{len(source)} {source} {message_id}".encode(), digest_size=16).digest()
