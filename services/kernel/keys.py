"""API keys: hashed in the keyring file, their tokens shown once when they are made.

Every process reads the file again when it changes, so a revoked key stops working within a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace as changed

from services.kernel import key_file
from services.kernel.key_file import Key as Key
from services.kernel.key_file import KeyProblem as KeyProblem
from services.kernel.key_file import LiveToken
from services.kernel.outcome import Outage
from services.kernel.settings import Settings
from services.kernel.token import hash_token, is_sound, make_token

SCOPES = (
    "consent:read",
    "consent:write",
    "keys:admin",
    "privacy:read",
    "privacy:write",
    "profile:read",
    "segment:read",
    "segment:admin",
)
KINDS = {
    "write": (),
    "server": ("consent:read", "consent:write", "privacy:read", "privacy:write", "profile:read"),
    "admin": SCOPES,
}
"""Kinds of keys with their scopes. write: public, for apps. server: secret, writes events and decisions.
admin: writes no events; has all scopes, or those that were chosen."""

MAX_NAME = 100
LIVE_TOKENS = 2
CHECK_SECONDS = 1
NOTE_SECONDS = 60.0
"""How often a process writes when keys were last used."""

log = logging.getLogger(__name__)


class KeyRing:
    """The live keys of the keyring file and the process's ``own``, looked up by token.

    While the file can't be read the last known keys stay in force; where none were ever read, look-ups
    raise Outage: to answer that a key is unknown would have SDKs throw their events away.
    """

    def __init__(
        self,
        path: Path,
        *,
        own: Sequence[Key] = (),
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._own = own
        self._monotonic = monotonic
        self._wall = wall
        self._checked = float("-inf")
        self._stamp: tuple[int, int] | None = None
        self._keys: Sequence[Key] = ()
        self._next_end = float("inf")
        self._by_hash: dict[str, Key] = {}
        self._by_token: dict[str, Key] = {}
        self._used: dict[str, float] = {}

    def write_key(self, token: str) -> Key | None:
        """The key with which events may be written, None when there is no such live key."""
        key = self._find(token)
        return key if key is not None and key.source is not None else None

    def bearer(self, token: str) -> Key | None:
        """The key of an API call, None when there is no such live key."""
        return self._find(token)

    @asynccontextmanager
    async def noting(self, every: float = NOTE_SECONDS) -> AsyncIterator[None]:
        """While the block lasts, write so often (seconds) when keys were last used, and once more at its
        end."""
        writing = asyncio.create_task(self._write_used_again_and_again(every))
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.wait({writing})
            await asyncio.to_thread(self._write_used)

    def _find(self, token: str) -> Key | None:
        now = self._monotonic()
        if now - self._checked > CHECK_SECONDS:
            self._checked = now
            self._refresh()
        key = self._by_token.get(token)
        if key is None:
            key = self._by_hash.get(hash_token(token)) if is_sound(token) else None
            if key is None:
                return None
            self._by_token[token] = key  # there are no more of these than there are live tokens
        self._used[key.id] = now
        return key

    def _refresh(self) -> None:
        """Take in a file that changed, and tokens that have ended out."""
        now = self._wall()
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._keys = key_file.read_keys(self._path)
                self._stamp = stamp
                self._index(now)
        except (OSError, KeyProblem) as error:
            if self._stamp is None:
                self._checked = float("-inf")
                raise Outage(f"the keyring can't be read: {type(error).__name__}") from error
        if now >= self._next_end:
            self._index(now)

    def _index(self, now: float) -> None:
        keys = (*self._keys, *self._own)
        ends = {token.hash: (_end(key, token), key) for key in keys for token in key.tokens}
        self._by_hash = {hash_: key for hash_, (end, key) in ends.items() if end > now}
        self._by_token = {}
        self._next_end = min((end for end, _ in ends.values() if end > now), default=float("inf"))

    async def _write_used_again_and_again(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self._write_used)

    def _write_used(self) -> None:
        since = self._wall() - self._monotonic()
        noted = {id: datetime.fromtimestamp(since + at, UTC) for id, at in self._used.copy().items()}
        try:
            if noted:
                key_file.merge_used(self._path, noted)
        except (OSError, KeyProblem, ValueError) as error:
            log.warning("last use of keys can't be written", extra={"why": type(error).__name__})


def draft(
    name: str,
    kind: str,
    source: str | None = None,
    *,
    scopes: Collection[str] | None = None,
    expires: datetime | None = None,
    rate_events: int | None = None,
    rate_bytes: int | None = None,
) -> tuple[Key, str]:
    """A new key that is in no keyring yet (see :func:`add`), and its token, which is kept nowhere.

    ``scopes``: of an admin key alone; None is all. Raises KeyProblem.
    """
    if kind not in KINDS:
        raise KeyProblem(f"kind: expected one of {', '.join(KINDS)}")
    _check_text("name", name)
    if kind == "admin":
        if source:
            raise KeyProblem("source: an admin key writes no events")
        unknown = set(scopes or ()).difference(SCOPES)
        if unknown or (scopes is not None and not scopes):
            raise KeyProblem(f"scopes: expected some of {', '.join(SCOPES)}")
    else:
        _check_text("source", source or "")
        if scopes is not None:
            raise KeyProblem(f"scopes: those of a {kind} key can't be chosen")
    now = _now()
    if expires is not None and expires <= now:
        raise KeyProblem("expires: expected a time to come")
    for place, rate in (("rate_events", rate_events), ("rate_bytes", rate_bytes)):
        if rate is not None and rate < 1:
            raise KeyProblem(f"{place}: expected 1 or more a second")
    token = make_token()
    key = Key(
        id=secrets.token_hex(4),
        name=name,
        kind=kind,
        source=source or None,
        created=now,
        tokens=(LiveToken(hash_token(token), now),),
        scopes=frozenset(KINDS[kind] if scopes is None else scopes),
        expires=expires,
        rate_events=rate_events,
        rate_bytes=rate_bytes,
    )
    return key, token


def add(path: Path, key: Key) -> None:
    """Put a key in force. Raises KeyProblem when there is one of its name."""
    with key_file.edited(path) as keys:
        if any(key.name in (other.name, other.id) for other in keys):
            raise KeyProblem(f"name: there is a key {key.name!r} already")
        keys.append(key)


def create(path: Path, name: str, kind: str, source: str | None = None) -> str:
    """:func:`draft` and :func:`add`, with defaults; returns the token. Raises KeyProblem."""
    key, token = draft(name, kind, source)
    add(path, key)
    return token


def list_keys(path: Path) -> list[Key]:
    """All keys, oldest first, those that have expired too."""
    return key_file.read_keys(path) if path.exists() else []


def find(path: Path, name_or_id: str) -> Key:
    """Raises KeyProblem when there is none of that name or id."""
    return _named(list_keys(path), name_or_id)


def rotate(path: Path, name_or_id: str, *, grace: timedelta | None = None) -> str:
    """Give a key a new token and return it. The one before stays in force, for ``grace`` or (None) until it
    is rotated out; older ones end. Raises KeyProblem when there is no such key."""
    token = make_token()
    now = _now()
    with key_file.edited(path) as keys:
        key = _named(keys, name_or_id)
        before = live_tokens(key)[1 - LIVE_TOKENS :]
        if grace is not None:
            before = [changed(live, ends=min(live.ends or now + grace, now + grace)) for live in before]
        tokens = (*before, LiveToken(hash_token(token), now))
        keys[keys.index(key)] = changed(key, tokens=tokens)
    return token


def live_tokens(key: Key) -> list[LiveToken]:
    """Those of its tokens that are in force, none when it has expired."""
    now = datetime.now(UTC).timestamp()
    return [token for token in key.tokens if _end(key, token) > now]


def revoke(path: Path, name_or_id: str) -> Key:
    """Take a key out of force. Raises KeyProblem when there is none of that name or id."""
    with key_file.edited(path) as keys:
        key = _named(keys, name_or_id)
        keys.remove(key)
        return key


def ensure_default_keys(settings: Settings) -> dict[str, str]:
    """Make the keys demo-web, demo-server and admin where there are none yet, and keep their tokens in
    keys.json (mode 600) beside the keyring. Returns the tokens by name."""
    shown = settings.home / "keys.json"
    if shown.exists():
        tokens: dict[str, str] = json.loads(shown.read_text())
        if all(map(is_sound, tokens.values())):  # else they were made before tokens had a checksum
            return tokens
    known = {key.name for key in list_keys(settings.keyring)}
    wanted = (
        ("demo-web", "write", "demo-web"),
        ("demo-server", "server", "demo-server"),
        ("admin", "admin", None),
    )
    for name, _, _ in wanted:
        if name in known:
            revoke(settings.keyring, name)
    tokens = {name: create(settings.keyring, name, kind, source) for name, kind, source in wanted}
    key_file.replace(shown, json.dumps(tokens, indent=2).encode() + b"\n")
    return tokens


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _end(key: Key, token: LiveToken) -> float:
    """Seconds since the epoch at which a token ends, or its key."""
    return min(
        (end.timestamp() for end in (key.expires, token.ends) if end is not None), default=float("inf")
    )


def _named(keys: Sequence[Key], name_or_id: str) -> Key:
    for key in keys:
        if name_or_id in (key.name, key.id):
            return key
    raise KeyProblem(f"there is no key {name_or_id!r}")


def _check_text(place: str, text: str) -> None:
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise KeyProblem(f"{place}: expected 1 to {MAX_NAME} printable characters")
