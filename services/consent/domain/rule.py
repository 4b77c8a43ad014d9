"""The consent rule: what holds for each identifier, as a pure function of decisions and links.

- A denial blocks identifier x when x is linked, however far, to an identifier of the denial, unless a later
  grant of the purpose names x and shares an identifier with the denial.
- A grant counts only for the identifiers that it names, until it expires; what it answered stays answered,
  so that it expires to the regime's default. Denials do not expire.
- Where neither holds, nothing is said: the regime's default.
So a link can only restrict, and cutting it restores what was.
- An erasure is a denial of everything that also cuts: what began before it is never used again, whatever is
  granted later. The cut is of the identifiers that it names, and follows no links: erasing can't be undone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.kernel.events import ConsentState, Grant

EVERY = "*"
"""Stands for every purpose that is not named beside it, also for those added to the policy later."""
GPC = "gpc"
"""Method of a decision that a Global Privacy Control signal made."""

ERASURE = "erasure"
"""Method of the denial with which an erasure begins."""
RESTRICTION = "restriction"
"""Method of a denial of everything that leaves what is stored where it is."""

Choice = Literal["grant", "deny"]
Verdict = int
"""Of one identifier and purpose: granted until that time, or one of the two below."""
DENIED: Verdict = -1
DEFAULT: Verdict = 0
Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the ledger. ``position`` is its place there: later means higher.

    ``expires_at`` holds for its grants. Times are microseconds since the epoch, UTC.
    """

    position: int
    identifiers: frozenset[bytes]
    purposes: Mapping[str, Choice]
    method: str
    decided_at: int
    expires_at: int

    def says(self, purpose: str) -> Choice | None:
        """Its choice for the purpose: the one named, else that for every purpose."""
        return self.purposes.get(purpose, self.purposes.get(EVERY))


def effective(
    identifiers: Iterable[bytes],
    decisions: Iterable[Decision],
    links: Iterable[Pair],
    cuts: Collection[Pair],
    now: int,
) -> dict[bytes, ConsentState]:
    """The state of each identifier, version 0.

    ``decisions`` and ``links`` must hold all that concern the identifiers and those linked to them; a cut
    pair, in either direction, is no link. Reading a state: what is listed under a purpose's own name goes
    before ``*``; what is listed nowhere, or as a grant that has expired, holds the regime's default (answer).
    """
    ordered = sorted(decisions, key=lambda decision: decision.position)
    group_of = components(
        [*identifiers, *(x for decision in ordered for x in decision.identifiers)], links, cuts
    )
    touching: dict[bytes, list[Decision]] = defaultdict(list)
    for decision in ordered:
        for group in {group_of[x] for x in decision.identifiers}:
            touching[group].append(decision)
    states: dict[bytes, ConsentState] = {}
    members: dict[bytes, list[bytes]] = defaultdict(list)
    for identifier in dict.fromkeys(identifiers):
        members[group_of[identifier]].append(identifier)
    for group, inside in members.items():
        states.update(_of_component(inside, touching[group], now))
    return states


def answer(state: ConsentState, purpose: str, now: int) -> Verdict:
    """What the state says of a purpose at that time."""
    for name in (purpose, EVERY):
        if name in state.denied:
            return DENIED
        for grant in state.granted:
            if grant.purpose == name:
                return grant.expires_at if grant.expires_at > now else DEFAULT
    return DEFAULT


def on_gpc_record(decisions: Iterable[Decision]) -> set[bytes]:
    """The identifiers of which a GPC signal is on record: another one of theirs says nothing new."""
    return {x for decision in decisions if decision.method == GPC for x in decision.identifiers}


def components(
    identifiers: Iterable[bytes], links: Iterable[Pair], cuts: Collection[Pair] = ()
) -> dict[bytes, bytes]:
    """For each identifier one that stands for all that are linked to it."""
    parent = {x: x for x in identifiers}

    def root(x: bytes) -> bytes:
        parent.setdefault(x, x)
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for one, other in links:
        if (one, other) not in cuts and (other, one) not in cuts:
            parent[root(one)] = root(other)
    return {x: root(x) for x in list(parent)}


def _of_component(
    members: Sequence[bytes], decisions: Sequence[Decision], now: int
) -> dict[bytes, ConsentState]:
    purposes = sorted({EVERY, *(purpose for decision in decisions for purpose in decision.purposes)})
    naming: dict[bytes, list[Decision]] = defaultdict(list)
    for decision in decisions:
        for identifier in decision.identifiers:
            naming[identifier].append(decision)
    denials = {purpose: _latest_denials(decisions, purpose) for purpose in purposes}
    on_record = on_gpc_record(decisions)
    denied_at = max((d.decided_at for d in decisions if "deny" in d.purposes.values()), default=0)

    def state(identifier: bytes, named_by: Sequence[Decision]) -> ConsentState:
        verdicts = {purpose: _verdict(purpose, denials[purpose], named_by) for purpose in purposes}
        denied, granted = _listed(verdicts, now)
        decided_at = max(denied_at, max((d.decided_at for d in named_by), default=0))
        erased_at = max((d.decided_at for d in named_by if d.method == ERASURE), default=0)
        return ConsentState(0, denied, granted, identifier in on_record, decided_at, erased_at)

    unnamed = state(b"", ())
    return {x: state(x, naming[x]) if x in naming else unnamed for x in members}


Denials = Mapping[frozenset[bytes], int]


def _latest_denials(decisions: Iterable[Decision], purpose: str) -> Denials:
    """Of the denials that name the same identifiers only the latest counts: what answers it answers all."""
    return {d.identifiers: d.position for d in decisions if d.says(purpose) == "deny"}


def _verdict(purpose: str, denials: Denials, named_by: Sequence[Decision]) -> Verdict:
    """For an identifier that these decisions name."""
    grants = [decision for decision in named_by if decision.says(purpose) == "grant"]
    for identifiers, position in denials.items():
        if not any(g.position > position and not identifiers.isdisjoint(g.identifiers) for g in grants):
            return DENIED
    return grants[-1].expires_at if grants else DEFAULT


def _listed(verdicts: Mapping[str, Verdict], now: int) -> tuple[list[str], list[Grant]]:
    """Denied and granted purposes, without those of which ``*`` says the same.

    Beside a ``*`` in force, which would else speak for it, a purpose at its default stands as a grant that
    has expired.
    """
    rest = verdicts[EVERY] if _lasts(verdicts[EVERY], now) else DEFAULT
    denied, granted = [], []
    for purpose, verdict in verdicts.items():
        if verdict == rest and purpose != EVERY or rest == DEFAULT and not _lasts(verdict, now):
            continue
        if verdict == DENIED:
            denied.append(purpose)
        else:
            granted.append(Grant(purpose, verdict))
    return denied, granted


def _lasts(verdict: Verdict, now: int) -> bool:
    return verdict == DENIED or verdict > now
