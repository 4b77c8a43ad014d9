"""Which segments a profile is in, and the transitions that follow: alternating, with a gapless sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from services.kernel.events import Cause, GoldenRecord, Transition
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher, join
from services.kernel.predicate import NEVER, Facts
from services.segment.domain.definition import Catalog, Segment

Reason = Literal["rule", "time", "consent", "merge", "unmerge", "erasure", "definition"]


class Standing(NamedTuple):
    """How a profile stands to a segment since its last transition."""

    member: bool
    sequence: int
    reason: str


NEW = Standing(False, 0, "")


class Known(Struct, frozen=True, gc=False):
    """What is stored of a profile: version -1 where nothing is, ``due`` NEVER where time changes nothing.

    ``merged``: it is gone, for it became part of another profile.
    """

    version: int = -1
    catalog: int = 0
    due: int = NEVER
    merged: bool = False
    identifiers: bytes = b""
    standings: Mapping[str, Standing] = {}


class Occasion(Struct, frozen=True, gc=False):
    """Why a profile is judged now: a record was read at ``at``, or, without a cause, ``at`` has come."""

    at: int
    cause: Cause | None = None
    merged_into: bytes | None = None


class Judged(NamedTuple):
    """``due``: time at which to judge again though nothing was changed."""

    due: int
    transitions: list[Transition]


class Person(NamedTuple):
    """A golden record with what rules look at. ``readable``: whether its traits are an object that can be
    decoded. One without is judged as having no traits, for its purposes must count all the same."""

    record: GoldenRecord
    facts: Facts
    readable: bool = True

    @classmethod
    def of(cls, record: GoldenRecord) -> Person:
        try:
            traits = msgspec.json.decode(record.traits, type=dict)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return cls(record, Facts({}, record.activity), readable=False)
        return cls(record, Facts(traits, record.activity))


def identifiers_of(record: GoldenRecord, profile_id: bytes, hasher: Hasher) -> bytes:
    """Hashes by which the profile is found, other than its own id; sorted and joined."""
    hashes = {hasher(USER_ID, value) for value in record.user_ids}
    hashes.update(hasher(ANONYMOUS_ID, value) for value in record.anonymous_ids)
    hashes.discard(profile_id)
    return join(sorted(hashes))


def memberships_of(catalog: Catalog, person: Person | None, now: int) -> tuple[set[str], int]:
    """Keys of the segments that a profile is in now, and the time until which time alone changes none.

    A profile that is gone is in none; one whose purposes lack a segment's is not in that segment.
    """
    members: set[str] = set()
    due = NEVER
    if person is None:
        return members, due
    record, facts, _ = person
    purposes = record.purposes
    for (key, purpose), test, condition in catalog.index.candidates(facts):
        if purpose not in purposes:
            continue
        if test is not None:
            if test(facts):
                members.add(key)
            continue
        holds, until = condition(facts, now)
        if holds:
            members.add(key)
        if until < due:
            due = until
    return members, due


def judge(
    catalog: Catalog,
    profile_id: str,
    person: Person | None,
    known: Known,
    occasion: Occasion,
    now: int,
    identity: GoldenRecord | None = None,
) -> Judged:
    """The transitions from what is known to what holds now, in the order of segment keys.

    ``person`` is None for a profile that is gone; ``identity`` names whose it was.
    """
    members, due = memberships_of(catalog, person, now)
    before = {key for key, standing in known.standings.items() if standing.member}
    if members == before:
        return Judged(due, [])
    record = person.record if person else None
    named = record or identity
    transitions = []
    for key in sorted(members ^ before):
        segment, standing = catalog.segments[key], known.standings.get(key, NEW)
        reason, occurred_at, cause = _why(segment, standing, record, known, occasion)
        transitions.append(
            Transition(
                segment_key=key,
                segment_version=segment.version,
                profile_id=profile_id,
                user_id=named.user_ids[0] if named and named.user_ids else None,
                anonymous_ids=named.anonymous_ids if named else [],
                member=key in members,
                sequence=standing.sequence + 1,
                reason=reason,
                cause=cause,
                occurred_at=occurred_at,
                evaluated_at=now,
            )
        )
    return Judged(due, transitions)


def _why(
    segment: Segment, standing: Standing, record: GoldenRecord | None, known: Known, occasion: Occasion
) -> tuple[Reason, int, Cause | None]:
    """Reason, time and cause of a transition. A person who left for want of consent can only come back by
    giving it again, so that entry has the reason consent too."""
    cause = occasion.cause
    if record is None:
        return "merge" if occasion.merged_into else "erasure", occasion.at, cause
    if known.version >= 0 and segment.catalog > known.catalog:
        return "definition", segment.defined_at, None
    if cause is None:
        return "time", occasion.at, None
    withdrawn = standing.member and segment.definition.purpose not in record.purposes
    if withdrawn or (not standing.member and standing.reason == "consent"):
        return "consent", occasion.at, cause
    if known.merged:
        return "unmerge", occasion.at, cause
    return "rule", record.last_seen_at, cause
