"""How much each key may send to this process."""

from __future__ import annotations

from typing import NamedTuple

from services.ingest.domain.rate import Meter, Rate
from services.kernel.clock import SECOND, Clock
from services.kernel.keys import Key
from services.kernel.outcome import CandorError

PUBLIC = Rate(events=5_000, bytes=10_000_000)
"""Of a write key that says nothing else: it stands in pages and apps, so anybody may use it."""
TRUSTED = Rate(events=0, bytes=0)
"""Of server keys."""
_KNOWN = 10_000


class TooMany(CandorError):
    """The key has sent as much as it may. ``seconds``: after these there is room again."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the key has sent as much as it may for now")
        self.seconds = seconds


class _Metered(NamedTuple):
    """A key as the keyring had it last, and what it took."""

    key: Key
    rate: Rate
    meter: Meter


class Rates:
    """One meter for each key, of this process alone: with several of them a key may send as much to each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._meters: dict[str, _Metered] = {}

    def take(self, key: Key, events: int, bytes_: int) -> None:
        """Raises TooMany; then nothing is taken."""
        now = self._clock.now() / SECOND
        known = self._meters.get(key.id)
        if known is None or known.key is not key:
            known = self._take_in(key, known, now)
        wait = known.meter.take(events, bytes_, now)
        if wait:
            raise TooMany(wait)

    def _take_in(self, key: Key, known: _Metered | None, now: float) -> _Metered:
        """A key that is new or was read again; what it took counts on unless its rate is another."""
        rate = _rate(key)
        if known is None and len(self._meters) >= _KNOWN:
            self._meters.clear()
        meter = known.meter if known is not None and known.rate == rate else Meter(rate, now)
        found = self._meters[key.id] = _Metered(key, rate, meter)
        return found


def _rate(key: Key) -> Rate:
    default = PUBLIC if key.kind == "write" else TRUSTED
    return Rate(
        default.events if key.rate_events is None else key.rate_events,
        default.bytes if key.rate_bytes is None else key.rate_bytes,
    )
