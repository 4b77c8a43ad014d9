"""The account of a play: the figures that follow from what was measured. Pure; checks.py judges them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from deploy.demo.calls import ORDERED
from deploy.demo.ledger import Ledger
from deploy.demo.measured import Delivery, Measured
from deploy.demo.plan import EVERYTHING
from deploy.demo.segments import PROBED, SEGMENTS
from services.kernel.events import GoldenRecord, Transition


@dataclass(frozen=True, slots=True)
class SegmentFigures:
    key: str
    before: int
    members: int
    entered: int
    left_by_rule: int
    left_by_consent: int
    left_otherwise: int

    @property
    def left(self) -> int:
        return self.left_by_rule + self.left_by_consent + self.left_otherwise


@dataclass(frozen=True, slots=True)
class Freshness:
    """Milliseconds from the 200 to the transition at the subscriber."""

    p50: float
    p99: float
    measured: int
    asked: int


class Account:
    """All figures of one run."""

    def __init__(self, ledger: Ledger, measured: Measured) -> None:
        self.ledger = ledger
        self.measured = measured

    @cached_property
    def delivered(self) -> Counter[str]:
        """Deliveries by message id that were seen in Kafka: collected, permitted or a dead letter."""
        collected = Counter(seen.id for seen in self.measured.collected)
        permitted = Counter(seen.id for seen in self.measured.permitted)
        return (collected | permitted) + Counter(self.measured.refused)

    @cached_property
    def unseen(self) -> int:
        """Records of events.collected that were truncated before they could be read."""
        return self.measured.written - len(self.measured.collected)

    @cached_property
    def sent_again(self) -> int:
        """Deliveries beyond the plan: the SDK's own retries."""
        return max(0, self.measured.written + len(self.measured.refused) - self.ledger.deliveries)

    @cached_property
    def came_through(self) -> list[Delivery]:
        """Records of events.permitted whose request began after the person's opt-out was acknowledged."""
        people = {
            identifier: name
            for name, book in self.ledger.books.items()
            if book.denied == EVERYTHING
            for identifier in book.identifiers
        }

        def denied_at(identifier: str | None) -> float:
            return self.measured.acknowledged.get(people.get(identifier or "", ""), float("inf"))

        return [
            seen
            for seen in self.measured.permitted
            if seen.started > min(denied_at(seen.user_id), denied_at(seen.anonymous_id))
        ]

    @cached_property
    def golden(self) -> dict[str, list[GoldenRecord]]:
        """Golden records by the name of the person they belong to; those of nobody under ""."""
        owner = {
            identifier: name for name, book in self.ledger.books.items() for identifier in book.identifiers
        }
        records = defaultdict(list)
        for record in self.measured.profiles.values():
            names = {owner.get(identifier, "") for identifier in (*record.user_ids, *record.anonymous_ids)}
            records[names.pop() if len(names) == 1 else ""].append(record)
        return dict(records)

    @cached_property
    def people(self) -> int:
        return len(self.measured.profiles)

    @cached_property
    def identifiers(self) -> int:
        return sum(
            len(record.user_ids) + len(record.anonymous_ids) for record in self.measured.profiles.values()
        )

    @cached_property
    def turnover(self) -> Decimal:
        return sum((turnover(record) for record in self.measured.profiles.values()), Decimal(0))

    @cached_property
    def transitions(self) -> list[Transition]:
        return [transition for partition in self.measured.transitions for transition in partition]

    def segments(self) -> Iterator[SegmentFigures]:
        for segment in SEGMENTS:
            mine = [transition for transition in self.transitions if transition.segment_key == segment.key]
            left = Counter(transition.reason for transition in mine if not transition.member)
            membership = self.measured.memberships[segment.key]
            by_rule = left.pop("rule", 0) + left.pop("time", 0)
            by_consent = left.pop("consent", 0)
            entered = sum(transition.member for transition in mine)
            before, after = len(membership.before), len(membership.after)
            yield SegmentFigures(segment.key, before, after, entered, by_rule, by_consent, left.total())

    @cached_property
    def freshness(self) -> Freshness | None:
        """None when no probe's transition arrived."""
        arrived = {
            told.user_id: told.at for told in self.measured.told if told.segment_key == PROBED and told.member
        }
        waited = []
        for user_id, answered in self.measured.answered.items():
            if user_id in arrived:
                waited.append((arrived[user_id] - answered) * 1000)
        if not waited:
            return None
        waited.sort()
        asked = len(self.measured.answered)
        return Freshness(_percentile(waited, 0.5), _percentile(waited, 0.99), len(waited), asked)


def turnover(record: GoldenRecord) -> Decimal:
    """The dollars of all orders in a golden record."""
    orders = record.activity.get(ORDERED)
    return Decimal(orders.sums.get("total", "0")) if orders else Decimal(0)


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
