"""What was measured from outside while the demo played: plain data, filled by observe, read by account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.kernel.events import GoldenRecord, Transition


@dataclass(frozen=True, slots=True)
class Counts:
    """Differences of the services' counters from before the first call until all was quiet."""

    accepted: int
    applied: int
    repeats: int
    dropped: int
    bad: int
    masked: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One record of events.collected or events.permitted. ``started``: begin of its request, µs (epoch)."""

    id: str
    user_id: str | None
    anonymous_id: str | None
    started: int


@dataclass(frozen=True, slots=True)
class Told:
    """A transition as the SSE subscriber got it, and when (seconds of the monotonic clock)."""

    segment_key: str
    profile_id: str
    user_id: str | None
    member: bool
    sequence: int
    at: float

    @property
    def key(self) -> tuple[str, str, int]:
        return self.segment_key, self.profile_id, self.sequence


@dataclass(frozen=True, slots=True)
class Membership:
    """Profile ids in one segment, by the segment API, before and after."""

    before: frozenset[str]
    after: frozenset[str]


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything of one run.

    ``acknowledged``: when each opt-out's answer came, by person, µs since the epoch. ``written``: by how many
    records events.collected grew, by its offsets; ``collected`` are those of them that were read before the
    gate truncated them, which is most. ``refused``: message ids of dead letters. ``card_numbers``: how many
    were found, by topic. ``profiles``: newest golden record by profile id. ``transitions``: by partition, in
    the topic's order. ``answered``: when each probe got its 200, by user_id, on the subscriber's clock.
    ``speed``: calls answered a second at full speed; ``steady``: calls a second while probes were measured.
    """

    sdk_errors: Sequence[str]
    acknowledged: Mapping[str, int]
    counts: Counts
    written: int
    collected: Sequence[Delivery]
    permitted: Sequence[Delivery]
    refused: Sequence[str]
    card_numbers: Mapping[str, int]
    profiles: Mapping[str, GoldenRecord]
    transitions: Sequence[Sequence[Transition]]
    told: Sequence[Told]
    memberships: Mapping[str, Membership]
    answered: Mapping[str, float]
    speed: float
    steady: float
