"""What is known of each recent event, put together from what was seen of it. Pure but for the clock.

An event is ``accepted`` when it stands in events.collected (``masked``: with a mask in what is stored).
At the gate it is ``permitted``, ``dropped`` or ``dead``; at profile ``applied``, a ``repeat``, a ``test`` or
``dead``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.kernel import codec, headers
from services.kernel.clock import Clock
from services.kernel.deadletter import PLAN_REPORTED
from services.kernel.events import DeadLetter
from services.kernel.outcome import BadRecord
from services.kernel.policy.model import catalog_name
from services.kernel.policy.watching import InForce
from services.kernel.recent.naming import Named, of_call, of_event, started_of

MAX_SOURCES = 50
MAX_EVENTS = 200
"""Events of a source that are remembered, the newest."""
MAX_IDS = 2_000
"""Message ids of a source that are known as applied, so that others with the same are repeats."""
INGEST, GATE, PROFILE = "ingest", "gate", "profile"
ENDS = frozenset({"dropped", "applied", "repeat", "test", "dead"})
"""Outcomes after which nothing comes."""


class Place(NamedTuple):
    """A partition's number and an offset."""

    partition: int
    offset: int


@dataclass(slots=True, eq=False)
class Seen:
    """An event. ``stages``: by stage its outcome and when it was seen, µs. ``purposes``: those allowed.
    ``is_test``: whether profile applies none of it."""

    source: str
    named: Named
    started: int | None
    collected: Place | None = None
    permitted: Place | None = None
    purposes: tuple[str, ...] = ()
    is_test: bool = False
    stages: dict[str, tuple[str, int]] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None

    @property
    def outcome(self) -> str:
        """The last one that counts: ``accepted`` until it has ended."""
        return next((outcome for outcome, _ in self.stages.values() if outcome in ENDS), "accepted")


class _Source:
    """What is remembered of one source. ``since``: when that began, µs."""

    def __init__(self, since: int) -> None:
        self.since = since
        self.events: deque[Seen] = deque()
        self.applied: OrderedDict[str, None] = OrderedDict()


class Book:
    """Recent events of the sources that are watched, at most MAX_SOURCES, each with its MAX_EVENTS newest.

    ``topics``: the cluster's names of events.collected and events.permitted. ``policies``: what an event is
    for, all of which a dropped one was denied. ``changed`` hears of every event whenever more is known.
    """

    def __init__(
        self,
        topics: tuple[str, str],
        policies: InForce,
        clock: Clock,
        changed: Callable[[Seen], None] = lambda _: None,
    ) -> None:
        self._collected_topic, self._permitted_topic = topics
        self._policies = policies
        self._clock = clock
        self._changed = changed
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._collected: dict[Place, Seen] = {}
        self._permitted: dict[Place, Seen] = {}
        self._at_gate: dict[Place, Seen] = {}
        self._at_profile: dict[Place, Seen] = {}

    @property
    def waiting(self) -> bool:
        """Whether the stages' commits would tell more."""
        return bool(self._at_gate or self._at_profile)

    def watch(self, source: str) -> int:
        """From now on this source too; the one that was asked for longest ago makes room. Since when it is
        watched, µs."""
        watched = self._sources.setdefault(source, _Source(self._clock.now()))
        self._sources.move_to_end(source)
        while len(self._sources) > MAX_SOURCES:
            _, left = self._sources.popitem(last=False)
            for seen in left.events:
                self._forget(seen)
        return watched.since

    # --- what is seen -----------------------------------------------------------------------------------

    def collected(self, record: Any) -> None:
        """A record of events.collected (aiokafka's ConsumerRecord)."""
        source = self._watched(record)
        if source is None:
            return
        place = Place(record.partition, record.offset)
        seen = self._collected.get(place)
        if seen is None:
            named, started = of_event(record.value), started_of(record)
            seen = self._unplaced(source, place.partition, named, started, "collected")
            seen = seen or self._add(source, named, started)
            seen.collected = place
            self._collected[place] = seen
        if GATE not in seen.stages:
            self._at_gate[place] = seen
        self._mark(seen, INGEST, "accepted")

    def permitted(self, record: Any) -> None:
        """A record of events.permitted: what the gate truncated before it was seen appears here first."""
        source = self._watched(record)
        if source is None:
            return
        place = Place(record.partition, record.offset)
        seen = self._permitted.get(place)
        if seen is None:
            named, started = of_event(record.value), started_of(record)
            seen = self._unplaced(source, place.partition, named, started, "permitted")
            seen = seen or self._add(source, named, started)
            seen.permitted = place
            self._permitted[place] = seen
        allowed = headers.value(record.headers, headers.PURPOSES) or b""
        seen.purposes = tuple(allowed.decode("utf-8", "replace").split(","))
        seen.is_test = headers.value(record.headers, headers.TEST) is not None
        if PROFILE not in seen.stages:
            self._at_profile[place] = seen
        self._mark(seen, INGEST, "accepted")
        self._mark(seen, GATE, "permitted")

    def letter(self, record: Any) -> None:
        """A record of deadletters: of ingest it is all there is of the event, unless that was accepted."""
        try:
            value = codec.decode(DeadLetter, record.value)
        except BadRecord:
            return
        source = value.source
        if source is None or source not in self._sources:
            return
        if value.reason == PLAN_REPORTED:
            return
        if value.step == INGEST:
            seen = self._add(source, of_call(value.payload), started_of(record) or value.dead_at)
            self._dead(seen, INGEST, value)
        elif value.partition is None or value.offset is None:
            return
        elif value.topic in (self._collected_topic, self._permitted_topic):
            is_gate = value.topic == self._collected_topic
            known = self._collected if is_gate else self._permitted
            place = Place(value.partition, value.offset)
            found = known.get(place)
            if found is None:
                found = known[place] = self._add(source, of_event(value.payload), started_of(record))
                setattr(found, "collected" if is_gate else "permitted", place)
                self._mark(found, INGEST, "accepted")
            self._dead(found, GATE if is_gate else PROFILE, value)

    def settle(self, gate: Mapping[int, int], profile: Mapping[int, int]) -> None:
        """The groups' committed offsets by partition, after everything that the stages wrote before was seen:
        what lies below them and was not permitted was dropped, what lies below profile's is applied, a repeat
        or a test."""
        for place, seen in list(self._at_gate.items()):
            if place.offset < gate.get(place.partition, 0):
                self._mark(seen, GATE, "dropped")
        for place, seen in list(self._at_profile.items()):
            if place.offset < profile.get(place.partition, 0):
                self._mark(seen, PROFILE, self._end(seen))

    def recent(self, source: str) -> list[dict[str, Any]]:
        """The events of a source as they may be shown, the newest first."""
        known = self._sources.get(source)
        return [self.shown(seen) for seen in reversed(known.events)] if known else []

    def shown(self, seen: Seen) -> dict[str, Any]:
        """Never a payload. Times are µs since the epoch."""
        stages: dict[str, Any] = {
            stage: {"outcome": outcome, "seen_at": at} for stage, (outcome, at) in seen.stages.items()
        }
        if seen.permitted is not None and GATE in stages:
            stages[GATE]["allowed"] = list(seen.purposes)
        elif GATE in stages and stages[GATE]["outcome"] == "dropped":
            stages[GATE]["denied"] = self._purposes(seen)
        shown = {
            "message_id": seen.named.message_id,
            "type": seen.named.type,
            "event": seen.named.event,
            "started_at": seen.started,
            "outcome": seen.outcome,
            "masked": seen.named.masked,
            "stages": stages,
        }
        return shown if seen.reason is None else {**shown, "reason": seen.reason, "detail": seen.detail}

    def _purposes(self, seen: Seen) -> list[str]:
        name = catalog_name(seen.named.type or "", seen.named.event)
        return sorted(self._policies.current.purposes_of(seen.source, name))

    # --- how it is put together ---------------------------------------------------------------------------

    def _watched(self, record: Any) -> str | None:
        """The record's source, None where nobody watches that."""
        found = headers.value(record.headers, headers.SOURCE)
        source = None if found is None else found.decode("utf-8", "replace")
        return source if source in self._sources else None

    def _unplaced(
        self, source: str, partition: int, named: Named, started: int | None, kind: str
    ) -> Seen | None:
        """The oldest delivery of that event that was seen in the other topic alone so far."""
        for seen in self._sources[source].events:
            other = seen.permitted if kind == "collected" else seen.collected
            if (
                other is not None
                and other.partition == partition
                and getattr(seen, kind) is None
                and seen.named.message_id == named.message_id
                and seen.started == started
                and (kind == "collected" or GATE not in seen.stages)
            ):
                return seen
        return None

    def _add(self, source: str, named: Named, started: int | None) -> Seen:
        seen = Seen(source, named, started)
        events = self._sources[source].events
        events.append(seen)
        if len(events) > MAX_EVENTS:
            self._forget(events.popleft())
        return seen

    def _forget(self, seen: Seen) -> None:
        for place, places in (
            (seen.collected, (self._collected, self._at_gate)),
            (seen.permitted, (self._permitted, self._at_profile)),
        ):
            for known in places:
                if place is not None:
                    known.pop(place, None)

    def _mark(self, seen: Seen, stage: str, outcome: str) -> None:
        """Note an outcome; the first one of a stage stands."""
        if stage in seen.stages:
            return
        seen.stages[stage] = outcome, self._clock.now()
        if seen.collected is not None and GATE in seen.stages:
            self._at_gate.pop(seen.collected, None)
        if seen.permitted is not None and PROFILE in seen.stages:
            self._at_profile.pop(seen.permitted, None)
        self._changed(seen)

    def _dead(self, seen: Seen, stage: str, letter: DeadLetter) -> None:
        seen.reason, seen.detail = letter.reason, letter.detail
        self._mark(seen, stage, "dead")

    def _end(self, seen: Seen) -> str:
        """What profile made of an event that it has passed."""
        if seen.is_test:
            return "test"
        return "repeat" if self._is_repeat(seen) else "applied"

    def _is_repeat(self, seen: Seen) -> bool:
        if seen.named.message_id is None:
            return False
        applied = self._sources[seen.source].applied
        known = seen.named.message_id in applied
        applied[seen.named.message_id] = None
        applied.move_to_end(seen.named.message_id)
        if len(applied) > MAX_IDS:
            applied.popitem(last=False)
        return known
