"""Which purposes an event or a profile may be used for: policy, effective consent and the event's own stamp.

The gate and the profile service judge with this, so that they never disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from services.kernel import codec
from services.kernel.events import ConsentState
from services.kernel.outcome import BadRecord
from services.kernel.policy import EVERY, Basis, Policy
from services.kernel.policy.watching import InForce

FOREVER = 1 << 62
"""The time before which a verdict holds when nothing is going to expire."""
MAX_STAMP = 2048
"""Bytes of a stamp: verdicts are cached by it."""
_TIME = 8
_HEAD = 2 * _TIME
_NEVER = bytes(_TIME)
_FOREVER = FOREVER.to_bytes(_TIME, "big")
_CACHED = 10_000


class Stamp(Struct, frozen=True, omit_defaults=True):
    """What an event says of consent itself. It limits that event and never grants anything.

    ``allowed``: only these categories, None when the event lists none. ``gpc``: the request bore Sec-GPC: 1.
    """

    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()
    gpc: bool = False

    def to_header(self) -> bytes:
        return msgspec.json.encode(self)

    @staticmethod
    def from_header(data: bytes) -> Stamp:
        """Raises BadRecord for anything that ``to_header`` did not write."""
        try:
            return _stamp(data)
        except (msgspec.DecodeError, UnicodeError):
            raise BadRecord("bad_header", "stamp") from None


@lru_cache(maxsize=4096)
def _stamp(data: bytes) -> Stamp:
    return msgspec.json.decode(data, type=Stamp)


def project(value: bytes) -> bytes:
    """A consent_state record in the compact form that views keep and Judge reads. Raises BadRecord.

    Eight bytes with the time before which it holds as it stands, eight with that of its erasure, then answers
    with no absolute time in them: millions give the same few answers, so that verdicts on them can be cached,
    each at a time of their own.
    """
    state = codec.decode(ConsentState, value)
    grants = [(grant.purpose, grant.expires_at) for grant in state.granted]
    return _compact(state.denied, grants, state.gpc, 0, moment(state.erased_at))


def erased_before(states: Iterable[bytes | None]) -> int:
    """The time before which everything of these identifiers was erased, µs; 0 where nothing was. An event
    whose request began before it must be dropped, whatever is granted since."""
    latest = _NEVER
    for state in states:
        if state is not None and (erased := state[_TIME:_HEAD]) > latest:
            latest = erased
    return int.from_bytes(latest, "big") if latest is not _NEVER else 0


class _Answers(Struct, frozen=True, array_like=True):
    """``granted``: each with the time from the first expiry to its own. ``lapsed``: grants that have expired:
    the default holds, also where there is another answer for every purpose."""

    denied: frozenset[str]
    granted: dict[str, int]
    lapsed: frozenset[str]
    gpc: bool

    def of(self, purpose: str) -> bool | None:
        """The answer for that very purpose, else that for every purpose; None leaves it to the regime."""
        for name in (purpose, EVERY):
            if name in self.denied:
                return False
            if name in self.granted:
                return True
            if name in self.lapsed:
                return None
        return None


_UNANSWERED = _Answers(frozenset(), {}, frozenset(), False)
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(_Answers)


def _compact(
    denied: Iterable[str], grants: Iterable[tuple[str, int]], gpc: bool, now: int, erased: bytes = _NEVER
) -> bytes:
    expiries = dict(grants)
    first = min((expiry for expiry in expiries.values() if expiry > now), default=FOREVER)
    live = {purpose: expiry - first for purpose, expiry in expiries.items() if expiry > now}
    answers = _Answers(frozenset(denied), live, frozenset(expiries.keys() - live.keys()), gpc)
    return moment(first) + erased + _encoder.encode(answers)


def _current(state: bytes, now: int) -> bytes:
    """The state as it stands now, but for its erasure: a grant that has expired has lapsed."""
    first = int.from_bytes(state[:_TIME], "big")
    if first > now:
        return state
    answers = _decoder.decode(state[_HEAD:])
    grants = [(purpose, first + later) for purpose, later in answers.granted.items()]
    grants += [(purpose, 0) for purpose in answers.lapsed]
    return _compact(answers.denied, grants, answers.gpc, now)


Case: TypeAlias = tuple[Basis, bytes | None, tuple[bytes | None, ...]]


class Verdict(NamedTuple):
    """What may be done with an event.

    ``allowed``: purposes that it is for, sorted; none means that it must be dropped. ``denied``: the others
    that it is for. ``split``: some of its identifiers bear a denial that others lack, of whatever purpose.
    ``gpc_new``: it bears a GPC signal not yet on record for all of its identifiers. ``until``: the verdict
    holds before this time (µs).
    """

    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    split: bool
    gpc_new: bool
    until: int


def case(states: Iterable[bytes | None], stamp: bytes | None, now: bytes, basis: Basis) -> Case:
    """What a verdict depends on: for the gate, which caches by it what it makes of a verdict. ``now`` is a
    :func:`moment`. Takes 0.6 µs for two identifiers. Raises BadRecord for a stamp of more than MAX_STAMP."""
    if stamp is not None and len(stamp) > MAX_STAMP:
        raise BadRecord("bad_header", "stamp")
    bodies = [
        None
        if state is None
        else state[_HEAD:]
        if state[:_TIME] > now
        else _current(state, int.from_bytes(now, "big"))[_HEAD:]
        for state in states
    ]
    return basis, stamp, tuple(bodies)


def moment(now: int) -> bytes:
    """A time in microseconds in the form that states compare with."""
    return now.to_bytes(_TIME, "big")


class Judge:
    """Judges by the policy in force. Verdicts are cached by what they depend on, so most cost a dictionary
    look-up; of bases there are few, whatever places and names events bear."""

    def __init__(self, policies: InForce) -> None:
        self._policies = policies
        self._judged_by = policies.current
        self._cache: dict[Case, Verdict] = {}
        self._bases: dict[tuple[str, str, str | None], Basis] = {}

    @property
    def policy(self) -> Policy:
        """The one that the next verdict goes by."""
        return self._policies.current

    def basis(self, source: str, event: str, place: str | None) -> Basis:
        """On what to judge an event: as :meth:`Policy.basis` says, which takes 5 µs. Senders choose places,
        so what is remembered is bounded."""
        self._follow()
        named = source, event, place
        basis = self._bases.get(named)
        if basis is None:
            if len(self._bases) >= _CACHED:
                self._bases.clear()
            basis = self._bases[named] = self._judged_by.basis(*named)
        return basis

    def judge(self, states: Iterable[bytes | None], stamp: bytes | None, now: int, basis: Basis) -> Verdict:
        """``states``: what the view holds for every identifier of the event (or profile); ``stamp``: the
        event's STAMP header. A purpose is allowed when every identifier allows it.

        Raises BadRecord for a stamp that can not be read.
        """
        current = [None if state is None else _current(state, now) for state in states]
        first = min((state[:_TIME] for state in current if state is not None), default=_FOREVER)
        verdict = self.verdict((basis, stamp, tuple([state and state[_HEAD:] for state in current])))
        return verdict._replace(until=int.from_bytes(first, "big"))

    def verdict(self, case: Case) -> Verdict:
        """The verdict on a :func:`case`, all but its ``until``. Raises BadRecord as :meth:`judge` does."""
        self._follow()
        verdict = self._cache.get(case)
        if verdict is None:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            verdict = self._cache[case] = _judge(self._judged_by, *case)
        return verdict

    def _follow(self) -> None:
        """Forget what was remembered of a policy that is no longer in force."""
        if self._judged_by is not self._policies.current:
            self._judged_by = self._policies.current
            self._cache.clear()
            self._bases.clear()


def _judge(policy: Policy, basis: Basis, stamp: bytes | None, bodies: tuple[bytes | None, ...]) -> Verdict:
    own = Stamp.from_header(stamp) if stamp is not None else Stamp()
    answered = [_UNANSWERED if body is None else _decoder.decode(body) for body in bodies]
    gpc_new = own.gpc and not all(answers.gpc for answers in answered)
    refused = {*own.denied, *(policy.gpc.denies if gpc_new else ())}
    allowed = []
    split = False
    for purpose in policy.purposes:
        given = {answers.of(purpose) for answers in answered} or {None}
        split |= False in given and len(given) > 1
        if (
            purpose in basis.purposes
            and False not in given
            and (None not in given or basis.default)
            and refused.isdisjoint((purpose, EVERY))
            and (own.allowed is None or purpose in own.allowed)
        ):
            allowed.append(purpose)
    denied = tuple(purpose for purpose in basis.purposes if purpose not in allowed)
    return Verdict(tuple(sorted(allowed)), denied, split, gpc_new, FOREVER)
