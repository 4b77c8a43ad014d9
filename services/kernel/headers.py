"""The headers of events: what later stages need without opening the payload.

Raw identifiers stand in no header. ``events.collected`` carries all but PURPOSES, which the gate adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

IDENTIFIERS = "ids"
"""Hashes of every identifier of the event, 16 bytes each, the routing id's first."""
SOURCE = "source"
"""The source's id, UTF-8."""
STARTED = "started"
"""Start of the HTTP request, µs since the epoch, decimal ASCII: what the opt-out barrier refers to."""
STAMP = "stamp"
"""What the event itself says of consent, see permission.Stamp; absent when it says nothing."""
PLACE = "place"
"""Where the person is, ``CC`` or ``CC-RR``, ASCII: as the event declares, else as its source's people are;
absent when neither says. ``ZZ`` is a place that nobody can tell from what was declared."""
EVENT = "event"
"""The event's name in the policy's catalog, UTF-8; absent where it does not stand there."""
TEST = "test"
"""``1`` on a test event, which is applied to no profile; absent on all others."""
PURPOSES = "purposes"
"""Allowed purposes, comma-separated and sorted."""
ORIGIN = "origin"
"""``topic:partition:offset`` at which a replayed record was first written."""
ID_MASKED = "id_masked"
"""``1`` on a dead letter of ingest of whose ids one was masked, so that nobody can tell whose call it was."""
VERSION = "version"
"""Of a profile's tombstone: its version, decimal ASCII."""
MERGED_INTO = "merged_into"
"""Of a merged profile's tombstone, and of the transitions that follow: the surviving profile's id, ASCII."""

Headers = Sequence[tuple[str, bytes]]


def value(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    """The value of the last header of that name, None when there is none."""
    found = None
    for key, data in headers:
        if key == name:
            found = data
    return found
