"""One frozen, slotted type per schema in schemas/; field meanings and units stand there.

Times are microseconds since the epoch, UTC; days are whole UTC days since the epoch.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Record(Struct, frozen=True, gc=False):
    """A value of a topic. ``schema`` names its folder in schemas/, ``schema_version`` the file."""

    schema: ClassVar[str]
    schema_version: ClassVar[int] = 1


class Event(Record, frozen=True, gc=False):
    schema = "event"
    schema_version = 2

    message_id: str
    source: str
    type: str
    name: str | None
    user_id: str | None
    anonymous_id: str | None
    previous_id: str | None
    group_id: str | None
    timestamp: int
    timestamp_bounded: bool
    received_at: int
    received_day: int
    payload: bytes
    place: str | None = None
    place_declared: bool = False


class DeadLetter(Record, frozen=True, gc=False):
    schema = "dead_letter"

    reason: str
    step: str
    detail: str
    topic: str | None
    partition: int | None
    offset: int | None
    source: str | None
    dead_at: int
    payload: bytes


class ConsentSignal(Record, frozen=True, gc=False):
    schema = "consent_signal"

    kind: str
    identifiers: list[bytes]
    source: str
    message_id: str
    observed_at: int


class IdentityLink(Record, frozen=True, gc=False):
    schema = "identity_link"

    child: bytes
    parent: bytes
    source: str
    message_id: str
    observed_at: int


class Grant(Struct, frozen=True, gc=False):
    purpose: str
    expires_at: int


class ConsentState(Record, frozen=True, gc=False):
    schema = "consent_state"
    schema_version = 2

    version: int
    denied: list[str]
    granted: list[Grant]
    gpc: bool
    decided_at: int
    erased_at: int = 0


class Activity(Struct, frozen=True, gc=False):
    count: int
    first_at: int
    last_at: int
    hours: list[int]
    hour_counts: list[int]
    days: list[int]
    day_counts: list[int]
    sums: dict[str, str]


class GoldenRecord(Record, frozen=True, gc=False):
    schema = "golden_record"

    profile_id: str
    version: int
    user_ids: list[str]
    anonymous_ids: list[str]
    purposes: list[str]
    traits: bytes
    activity: dict[str, Activity]
    first_seen_at: int
    last_seen_at: int
    received_at: int


class SegmentDefinition(Record, frozen=True, gc=False):
    schema = "segment_definition"

    key: str
    version: int
    name: str
    purpose: str
    rule: bytes
    defined_at: int


class Cause(Struct, frozen=True, gc=False):
    topic: str
    partition: int
    offset: int


class Transition(Record, frozen=True, gc=False):
    schema = "transition"

    segment_key: str
    segment_version: int
    profile_id: str
    user_id: str | None
    anonymous_ids: list[str]
    member: bool
    sequence: int
    reason: str
    cause: Cause | None
    occurred_at: int
    evaluated_at: int


class Membership(Record, frozen=True, gc=False):
    schema = "membership"

    segment_key: str
    profile_id: str
    segment_version: int
    sequence: int
    since: int


class AuditAct(Record, frozen=True, gc=False):
    schema = "audit_act"

    at: int
    key_id: str | None
    actor: str
    why: str | None
    service: str
    action: str
    target: str
    profiles: list[bytes]
    identifiers: list[bytes]
    people: int
    outcome: str


class PrivacyRequest(Record, frozen=True, gc=False):
    schema = "privacy_request"

    id: str
    type: str
    services: list[str]
    identifiers: list[bytes]
    erased_at: int


class PrivacyResult(Record, frozen=True, gc=False):
    schema = "privacy_result"

    request: str
    service: str
    state: str
    at: int
    counts: dict[str, int]
    detail: str


RECORDS: tuple[type[Record], ...] = (
    Event,
    DeadLetter,
    ConsentSignal,
    IdentityLink,
    ConsentState,
    GoldenRecord,
    SegmentDefinition,
    Transition,
    Membership,
    AuditAct,
    PrivacyRequest,
    PrivacyResult,
)
