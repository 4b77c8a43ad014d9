"""All metrics, declared once. Never a label with an identifier or a message id."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram


class BatchHistogram(Histogram):
    """A histogram that also takes a whole batch at once: 0.1 µs a value, where observe() takes 1 µs."""

    def observe_many(self, microseconds: Iterable[int]) -> None:
        """Observe durations; those below zero, which two clocks can make, count as zero."""
        ordered = sorted(microseconds)
        start = 0
        for bound, bucket in zip(self._upper_bounds, self._buckets, strict=True):
            end = bisect_right(ordered, bound * 1_000_000, start)
            bucket.inc(end - start)
            start = end
        self._sum.inc(max(0, sum(ordered)) / 1_000_000)


_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_AGE = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    3600,
    86400,
)
_SIZES = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000)

READY = Gauge("candor_ready", "1 when the service is ready, else 0.", ["service"])
RECORDS = Counter("candor_records", "Records by stage and how they ended.", ["stage", "outcome"])
BATCH_DURATION = Histogram(
    "candor_batch_duration_seconds", "From fetch to commit.", ["stage"], buckets=_LATENCY
)
BATCH_RECORDS = Histogram("candor_batch_records", "Records a batch.", ["stage"], buckets=_SIZES)
CONSUMER_LAG = Gauge("candor_consumer_lag_records", "Records not yet committed.", ["topic", "partition"])
EVENT_AGE = BatchHistogram(
    "candor_event_age_seconds",
    "Now minus received_at when the stage is done with an event.",
    ["stage"],
    buckets=_AGE,
)
DEAD_LETTERS = Counter("candor_dead_letters", "Dead letters by reason.", ["stage", "reason"])
OUTAGE = Counter("candor_outage_seconds", "Time in which a dependency did not answer.", ["dependency"])

PIXELS_LOST = Counter("candor_pixels_lost", "Pixel calls answered and not taken, by why.", ["reason"])
PLAN_VIOLATIONS = Counter(
    "candor_plan_violations", "Events that depart from the tracking plan.", ["source", "mode"]
)
MASKED = Counter("candor_masked", "Values masked at the door.", ["kind"])
DROPPED = Counter("candor_dropped", "Events dropped for lack of consent.", ["purpose", "source"])
POLICY_VERSION = Gauge("candor_policy_version", "Version of the policy in force.")
POLICY_WRONG = Gauge("candor_policy_wrong", "1 while the policy file is wrong and an older one is in force.")
CONSENT_VIEW_LAG = Gauge("candor_consent_view_lag_records", "Records the consent view has yet to read.")
BARRIER = Histogram(
    "candor_barrier_seconds",
    "Wait until the view held all decisions.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)
PROFILES = Gauge("candor_profiles", "Profiles.")
MERGES = Counter("candor_merges", "Profiles that became part of another.")
MEMBERS = Gauge("candor_members", "Members of a segment.", ["segment"])
TRANSITIONS = Counter("candor_transitions", "Entered and left.", ["segment", "direction", "reason"])
