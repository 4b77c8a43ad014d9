"""What may be told of people: decisions, links, cuts, grants that end; and what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from services.consent.domain.counting import Asked, Counted
from services.consent.domain.ledger import Terms
from services.consent.domain.rule import Choice, Pair


@dataclass(frozen=True, slots=True)
class Decide:
    """A person's decision. (source, id) names it: a second one of the same name is a repetition.

    ``record``: the proof for the person, JSON. With method GPC it is noted only for those of the identifiers
    of which no GPC signal is on record. ``said_at`` (µs): when it was said, of what may come long afterwards:
    its grants don't count where a denial was said later. None stands for the time of noting it.
    ``asked``: where it is counted. ``ignored``: see ``Decided``.
    """

    source: str
    id: str
    identifiers: frozenset[bytes]
    purposes: dict[str, Choice]
    method: str
    record: bytes
    said_at: int | None = None
    asked: Asked = Asked("", "")
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Link:
    """Evidence that two identifiers are one person. One that is on record, also as cut, changes nothing."""

    pair: Pair


@dataclass(frozen=True, slots=True)
class Cut:
    """A steward's word that two identifiers are not one person, whatever the evidence."""

    pair: Pair


@dataclass(frozen=True, slots=True)
class Lapse:
    """A grant of this identifier may have ended."""

    identifier: bytes


Change = Decide | Link | Cut | Lapse


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of a change. Of a decision: its terms in the ledger, and where.

    ``position`` is None when the decision told nothing new. ``conflict``: another decision has its id, and
    nothing was noted. ``waiting``: see Publications.wait. ``counted``: what it added to the counts.
    """

    waiting: frozenset[int]
    terms: Terms | None = None
    position: int | None = None
    conflict: bool = False
    counted: Counter[Counted] = field(default_factory=Counter)


def named(change: Change) -> Collection[bytes]:
    """The identifiers concerned."""
    match change:
        case Decide():
            return change.identifiers
        case Link() | Cut():
            return change.pair
        case Lapse():
            return (change.identifier,)
