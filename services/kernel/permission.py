"""Which purposes an event or a profile may be used for: policy, effective consent and the event's own stamp.

The gate and the profile service judge with this, so that they never disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import yaml
from msgspec import Struct

from services.kernel import codec
from services.kernel.events import ConsentState
from services.kernel.outcome import CandorError

EVERY = "*"
"""Stands for every purpose, those that the policy names later included."""
_FOREVER = 1 << 62
_CACHED = 50_000


class InvalidPolicy(CandorError):
    """The policy file is wrong; the message names the place."""


class _Gpc(Struct, frozen=True, forbid_unknown_fields=True):
    denies: tuple[str, ...] = ()


class _Grants(Struct, frozen=True, forbid_unknown_fields=True):
    days: int = 180


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """The purposes with the words that people read, and the regime."""

    version: int
    regime: Literal["opt_in", "opt_out", "notice_only"]
    purposes: dict[str, str]
    gpc: _Gpc = _Gpc()
    grants: _Grants = _Grants()

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Raises InvalidPolicy, naming file and place."""
        try:
            policy = msgspec.convert(yaml.safe_load(path.read_text()), cls)
        except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
            raise InvalidPolicy(f"{path.name}: {error}") from error
        if not policy.purposes:
            raise InvalidPolicy(f"{path.name}: purposes: expected at least one")
        for name in policy.purposes:
            if not name or name == EVERY or "," in name:
                raise InvalidPolicy(f"{path.name}: purposes: {name!r} can not be a purpose's name")
        for name in policy.gpc.denies:
            if name != EVERY and name not in policy.purposes:
                raise InvalidPolicy(f"{path.name}: gpc.denies: {name!r} is not a purpose")
        return policy

    @property
    def default(self) -> bool:
        """Whether a purpose is allowed while the person has not answered."""
        return self.regime != "opt_in"


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
        """Raises msgspec.DecodeError for anything that ``to_header`` did not write."""
        return _stamp(data)


@lru_cache(maxsize=4096)
def _stamp(data: bytes) -> Stamp:
    return msgspec.json.decode(data, type=Stamp)


class _Effective(NamedTuple):
    denied: frozenset[str]
    granted: Mapping[str, int]
    gpc: bool


def project(value: bytes) -> bytes:
    """A consent_state record in the compact form that views keep and Judge reads. Raises BadRecord."""
    state = codec.decode(ConsentState, value)
    return msgspec.msgpack.encode(
        (state.denied, [(grant.purpose, grant.expires_at) for grant in state.granted], state.gpc)
    )


@lru_cache(maxsize=_CACHED)
def _effective(state: bytes) -> _Effective:
    denied, granted, gpc = msgspec.msgpack.decode(state)
    return _Effective(frozenset(denied), dict(granted), gpc)


class Verdict(NamedTuple):
    """What may be done with an event.

    ``allowed``: purposes, sorted; none means that it must be dropped. ``denied``: the others. ``split``: some of
    its identifiers bear a denial that others lack. ``gpc_new``: it bears a GPC signal that is not on record
    for all of its identifiers. ``until``: the verdict holds before this time (µs).
    """

    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    split: bool
    gpc_new: bool
    until: int


class Judge:
    """Judges by one policy. Verdicts are cached by what they depend on, so most cost a dictionary look-up."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._purposes = tuple(sorted(policy.purposes))
        self._cache: dict[tuple[bytes | None, ...], Verdict] = {}

    def judge(self, states: Iterable[bytes | None], stamp: bytes | None, now: int) -> Verdict:
        """``states``: what the view holds for every identifier of the event (or profile); ``stamp``: the
        event's STAMP header. A purpose is allowed when every identifier allows it."""
        key = (stamp, *states)
        verdict = self._cache.get(key)
        if verdict is None or now >= verdict.until:
            verdict = self._judge(key[1:], stamp, now)
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[key] = verdict
        return verdict

    def _judge(self, states: tuple[bytes | None, ...], stamp: bytes | None, now: int) -> Verdict:
        own = Stamp.from_header(stamp) if stamp else Stamp()
        effective = [_effective(state) if state else None for state in states]
        gpc_new = own.gpc and any(state is None or not state.gpc for state in effective)
        gpc_denies = self._policy.gpc.denies if gpc_new else ()
        allowed = []
        split = False
        for purpose in self._purposes:
            answers = {self._allows(state, purpose, now) for state in effective} or {self._policy.default}
            split |= len(answers) > 1
            if (
                False not in answers
                and (own.allowed is None or purpose in own.allowed)
                and purpose not in own.denied
                and purpose not in gpc_denies
                and EVERY not in gpc_denies
            ):
                allowed.append(purpose)
        until = min(
            (expiry for state in effective if state for expiry in state.granted.values() if expiry > now),
            default=_FOREVER,
        )
        denied = tuple(purpose for purpose in self._purposes if purpose not in allowed)
        return Verdict(tuple(allowed), denied, split, gpc_new, until)

    def _allows(self, state: _Effective | None, purpose: str, now: int) -> bool:
        """The answer for that very purpose comes before the one for every purpose; a live grant before a
        denial; the regime's default comes last."""
        if state is None:
            return self._policy.default
        for name in (purpose, EVERY):
            if state.granted.get(name, 0) > now:
                return True
            if name in state.denied:
                return False
        return self._policy.default
