"""How many people were asked, what they answered, how many took a yes back. Counts alone, nobody's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from services.consent.domain.rule import Choice, Decision

SHOWN = "shown"
GRANTED, DENIED, WITHDRAWN = "granted", "denied", "withdrawn"
WHOLE = ""
"""Stands for the answer as a whole where a purpose stands else."""
_NAMES: dict[Choice, str] = {"grant": GRANTED, "deny": DENIED}


class Asked(NamedTuple):
    """Where a person was asked: language and jurisdiction as the policy names them, empty where it has
    none."""

    language: str
    jurisdiction: str


class Counted(NamedTuple):
    """What is counted. ``choice``: of the answer as a whole SHOWN or the method, of a purpose the choice."""

    asked: Asked
    purpose: str
    choice: str


def answered(
    asked: Asked, decision: Decision, taken_back: Collection[str], known: Iterable[str]
) -> Counter[Counted]:
    """What one decision adds; ``known``: the purposes of the policy, which ``*`` stands for."""
    counts = Counter([Counted(asked, WHOLE, decision.method)])
    for purpose in known:
        choice = decision.says(purpose)
        if choice is not None:
            counts[Counted(asked, purpose, _NAMES[choice])] += 1
        if purpose in taken_back:
            counts[Counted(asked, purpose, WITHDRAWN)] += 1
    return counts


def withdrawn(decision: Decision, earlier: Iterable[Decision], known: Iterable[str]) -> set[str]:
    """Of the purposes that it denies those that it takes back: the last word before it was a grant, still in
    force. ``earlier``: decisions that name one of the same identifiers, in their order."""
    backwards = list(earlier)[::-1]
    taken_back = set()
    for purpose in known:
        if decision.says(purpose) == "deny":
            last = next((other for other in backwards if other.says(purpose)), None)
            if last is not None and last.says(purpose) == "grant" and last.expires_at > decision.decided_at:
                taken_back.add(purpose)
    return taken_back


def stats_shown(counts: Mapping[Counted, int], known: Iterable[str]) -> dict[str, Any]:
    """The counts in sum, by language and by jurisdiction. ``withdrawal_rate``: of the grants those taken
    back, None where nobody granted."""
    purposes = list(known)

    def summed(chosen: Iterable[Counted]) -> dict[str, Any]:
        total: Counter[tuple[str, str]] = Counter()
        for counted in chosen:
            total[counted.purpose, counted.choice] += counts[counted]
        answers = {choice: n for (purpose, choice), n in sorted(total.items()) if purpose == WHOLE}
        return {
            "shown": answers.pop(SHOWN, 0),
            "answers": answers,
            "purposes": {purpose: _purpose_shown(total, purpose) for purpose in purposes},
        }

    def by(member: int) -> dict[str, Any]:
        names = sorted({counted.asked[member] for counted in counts})
        return {name or "other": summed(c for c in counts if c.asked[member] == name) for name in names}

    return {**summed(counts), "by_language": by(0), "by_jurisdiction": by(1)}


def _purpose_shown(total: Mapping[tuple[str, str], int], purpose: str) -> dict[str, Any]:
    granted, denied, taken_back = (total.get((purpose, choice), 0) for choice in (GRANTED, DENIED, WITHDRAWN))
    rate = round(taken_back / granted, 4) if granted else None
    return {GRANTED: granted, DENIED: denied, WITHDRAWN: taken_back, "withdrawal_rate": rate}
