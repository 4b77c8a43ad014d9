"""Why a profile is in a segment or not: facts, purposes, the last transition and whether it went out."""

from __future__ import annotations

from typing import Any

from services.kernel.codec import decode
from services.kernel.events import GoldenRecord, Transition
from services.kernel.predicate import NEVER
from services.segment.domain.definition import Segment
from services.segment.domain.judging import Person
from services.segment.domain.presentation import time_text, transition_shown
from services.segment.store.reading import Reader


async def explain(reader: Reader, segment: Segment, profile_id: bytes, now: int) -> dict[str, Any] | None:
    """None where nothing is stored of the profile.

    ``member`` is the membership as it stands, ``holds`` what the rule and the purposes say at this moment:
    they differ only while a change is on its way.
    """
    record = await reader.record(profile_id)
    if record is None:
        return None
    standing = await reader.standing(profile_id, segment.key)
    shown = {
        "segment": segment.key,
        "segment_version": segment.version,
        "profile_id": profile_id.hex(),
        "member": standing is not None and standing["member"],
        "holds": False,
        "last_transition": _last(standing),
    }
    if record["value"] is None:
        survivor = record["merged_into"]
        return {**shown, "gone": True, "merged_into": survivor.hex() if survivor else None}
    golden, facts, _ = Person.of(decode(GoldenRecord, record["value"]))
    condition = segment.condition
    holds, due = condition.judge(facts, now)
    allowed = segment.definition.purpose in golden.purposes
    return {
        **shown,
        "holds": holds and allowed,
        "purpose": {"name": segment.definition.purpose, "allowed": allowed},
        "purposes": golden.purposes,
        "rule": condition.explain(facts, now),
        "may_change_at": time_text(due) if allowed and due != NEVER else None,
        "golden_record_version": golden.version,
    }


def _last(standing: Any) -> dict[str, Any] | None:
    """The last transition; less of it once it is no longer kept."""
    if standing is None:
        return None
    if standing["value"] is not None:
        shown = transition_shown(decode(Transition, standing["value"]))
    else:
        shown = {name: standing[name] for name in ("segment_version", "member", "sequence", "reason")}
        shown["occurred_at"] = time_text(standing["occurred_at"])
    return {**shown, "published": standing["published"]}
