from __future__ import annotations

import asyncio
import json
import stat
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import key_file, keys
from services.kernel.keys import KeyProblem, KeyRing
from services.kernel.outcome import Outage
from services.kernel.settings import Settings
from services.kernel.token import ALPHABET, PREFIX, RANDOM, checksum, is_sound, make_token

TOKENS = (
    st.text(ALPHABET, min_size=RANDOM, max_size=RANDOM)
    .map(PREFIX.__add__)
    .map(lambda body: body + checksum(body))
)
"""Drawn and not made: hypothesis wants the same ones when it tries again."""


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def test_a_new_token_is_sound_and_another_than_the_last() -> None:
    one, other = make_token(), make_token()
    assert is_sound(one) and is_sound(other) and one != other


@given(TOKENS, st.data())
def test_a_token_with_any_character_changed_is_not_sound(token: str, data: st.DataObject) -> None:
    assert is_sound(token)
    place = data.draw(st.integers(len(PREFIX), len(token) - 1))
    other = data.draw(st.sampled_from(ALPHABET).filter(lambda letter: letter != token[place]))
    assert not is_sound(token[:place] + other + token[place + 1 :])


@given(TOKENS, st.integers(0, 48))
def test_a_token_with_two_characters_swapped_is_not_sound(token: str, at: int) -> None:
    swapped = token[:at] + token[at + 1] + token[at] + token[at + 2 :]
    assert is_sound(swapped) == (swapped == token)


@given(st.text() | st.builds(PREFIX.__add__, st.text(ALPHABET, min_size=30, max_size=50)))
def test_other_text_is_not_sound(text: str) -> None:
    assert not is_sound(text)


def test_a_wrong_checksum_is_refused_without_a_look_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by this: not even its hash is asked for."""
    token = keys.create(path, "shop", "write", "shop-web")
    ring = KeyRing(path)
    looked_up: list[str] = []

    def hash_token(token: str) -> str:
        looked_up.append(token)
        return ""

    monkeypatch.setattr(keys, "hash_token", hash_token)
    assert ring.bearer(token[:-1] + ("0" if token[-1] != "0" else "1")) is None
    assert looked_up == []
    assert ring.bearer(token) is None
    assert looked_up == [token]


def test_a_token_is_shown_once_and_kept_nowhere(path: Path) -> None:
    token = keys.create(path, "shop", "write", "shop-web")
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = KeyRing(path).write_key(token)
    assert key is not None
    assert (key.name, key.source, key.scopes) == ("shop", "shop-web", frozenset())
    assert (key.rate_events, key.rate_bytes) == (None, None)


def test_a_write_key_has_no_rights_and_an_admin_key_writes_no_events(path: Path) -> None:
    ring_token = keys.create(path, "admin", "admin")
    ring = KeyRing(path)
    assert ring.write_key(ring_token) is None
    admin = ring.bearer(ring_token)
    assert admin is not None
    assert admin.scopes == frozenset(keys.SCOPES)


def test_a_revoked_key_stops_working_without_a_restart(path: Path) -> None:
    watch = Watch()
    token = keys.create(path, "shop", "write", "shop-web")
    ring = KeyRing(path, monotonic=watch)
    assert ring.write_key(token) is not None
    keys.revoke(path, "shop")
    watch.time += 1.1
    assert ring.write_key(token) is None


def test_a_new_key_works_without_a_restart_though_it_was_asked_for_before(path: Path) -> None:
    watch = Watch()
    keys.create(path, "one", "write", "web")
    ring = KeyRing(path, monotonic=watch)
    token = keys.create(path, "two", "server", "server")
    watch.time += 1.1
    assert ring.bearer(make_token()) is None
    assert ring.bearer(token) is not None


def test_a_keyring_that_was_never_there_is_an_outage(path: Path) -> None:
    """Not an unknown key: SDKs would throw their events away."""
    ring = KeyRing(path)
    for _ in range(2):
        with pytest.raises(Outage):
            ring.write_key(make_token())
    token = keys.create(path, "shop", "write", "shop-web")
    assert ring.write_key(token) is not None


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("[{")])
def test_a_keyring_that_is_gone_for_a_while_leaves_the_keys_in_force(
    path: Path, spoil: Callable[[Path], object]
) -> None:
    watch = Watch()
    token = keys.create(path, "shop", "write", "shop-web")
    ring = KeyRing(path, monotonic=watch)
    assert ring.write_key(token) is not None
    spoil(path)
    watch.time += 1.1
    assert ring.write_key(token) is not None
    assert ring.write_key(make_token()) is None


def test_unknown_tokens_are_not_kept(path: Path) -> None:
    keys.create(path, "shop", "write", "shop-web")
    ring = KeyRing(path)
    assert ring.bearer("x" * 100_000) is None
    tracemalloc.start()
    for number in range(2000):
        assert ring.bearer(f"{number}" * 40) is None
        assert ring.bearer(make_token()) is None
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20_000


@pytest.mark.parametrize(
    ("name", "kind", "source", "place"),
    [
        ("x", "root", "s", "kind"),
        ("x", "write", None, "source"),
        ("x", "admin", "s", "source"),
        ("x", "write", "s" * 101, "source"),
        ("taken", "write", "s", "name"),
        ("", "write", "s", "name"),
        ("a\nb", "write", "s", "name"),
    ],
)
def test_bad_keys_are_refused_with_the_place(
    path: Path, name: str, kind: str, source: str | None, place: str
) -> None:
    keys.create(path, "taken", "admin")
    with pytest.raises(KeyProblem, match=f"^{place}:"):
        keys.create(path, name, kind, source)


@pytest.mark.parametrize(
    ("kind", "place", "options"),
    [
        ("admin", "scopes", {"scopes": ["profile:write"]}),
        ("admin", "scopes", {"scopes": []}),
        ("server", "scopes", {"scopes": ["profile:read"]}),
        ("admin", "expires", {"expires": datetime(2020, 1, 1, tzinfo=UTC)}),
        ("admin", "rate_events", {"rate_events": 0}),
        ("admin", "rate_bytes", {"rate_bytes": -1}),
    ],
)
def test_bad_options_are_refused_with_the_place(kind: str, place: str, options: dict[str, Any]) -> None:
    with pytest.raises(KeyProblem, match=f"^{place}:"):
        keys.draft("x", kind, None if kind == "admin" else "s", **options)


def test_an_admin_key_has_the_scopes_that_were_chosen_and_its_limits(path: Path) -> None:
    key, token = keys.draft("reader", "admin", scopes=["profile:read"], rate_events=100, rate_bytes=10_000)
    keys.add(path, key)
    found = KeyRing(path).bearer(token)
    assert found is not None
    assert found.scopes == {"profile:read"}
    assert (found.rate_events, found.rate_bytes) == (100, 10_000)


def test_a_rotated_key_has_two_live_tokens_and_a_third_ends_the_oldest(path: Path) -> None:
    first = keys.create(path, "shop", "write", "shop-web")
    second = keys.rotate(path, "shop")
    one, two = KeyRing(path).bearer(first), KeyRing(path).bearer(second)
    assert one is not None
    assert one == two
    third = keys.rotate(path, one.id)
    ring = KeyRing(path)
    assert [ring.bearer(token) is not None for token in (first, second, third)] == [False, True, True]


def test_after_its_grace_the_old_token_ends_without_a_restart(path: Path) -> None:
    watch = Watch()
    started = datetime.now(UTC).timestamp()
    first = keys.create(path, "shop", "write", "shop-web")
    ring = KeyRing(path, monotonic=watch, wall=lambda: started + watch())
    second = keys.rotate(path, "shop", grace=timedelta(hours=1))
    assert ring.write_key(first) is not None
    watch.time = 3700.0
    assert ring.write_key(first) is None
    assert ring.write_key(second) is not None
    assert ring.write_key(keys.rotate(path, "shop", grace=timedelta(0))) is None  # not looked at yet
    watch.time += 1.1
    assert ring.write_key(second) is None


def test_a_key_ends_when_it_expires_even_while_the_keyring_is_gone(path: Path) -> None:
    watch = Watch()
    started = datetime.now(UTC).timestamp()
    key, token = keys.draft("temp", "admin", expires=datetime.fromtimestamp(started + 60, UTC))
    keys.add(path, key)
    ring = KeyRing(path, monotonic=watch, wall=lambda: started + watch())
    assert ring.bearer(token) is not None
    path.unlink()
    watch.time = 61.1
    assert ring.bearer(token) is None


async def test_last_use_of_several_processes_is_merged(path: Path) -> None:
    web = keys.create(path, "web", "write", "web")
    crm = keys.create(path, "crm", "server", "crm")
    keys.create(path, "idle", "write", "idle")
    ids = {key.name: key.id for key in keys.list_keys(path)}

    async def use(at: float, *tokens: str) -> None:
        """A process whose clock shows that time of day."""
        ring = KeyRing(path, monotonic=lambda: 0.0, wall=lambda: at)
        async with ring.noting():
            assert all(ring.bearer(token) for token in tokens)

    await use(2000, web)
    await use(3000, crm)
    await use(1000, web, crm)
    times = {id: time.timestamp() for id, time in key_file.read_used(path).items()}
    assert times == {ids["web"]: 2000, ids["crm"]: 3000}
    keys.revoke(path, "web")
    await use(4000, crm)
    assert set(key_file.read_used(path)) == {ids["crm"]}


async def test_last_use_is_written_while_the_process_runs(path: Path) -> None:
    token = keys.create(path, "web", "write", "web")
    ring = KeyRing(path)
    async with ring.noting(every=0.01):
        assert ring.bearer(token) is not None
        async with asyncio.timeout(10):
            while not key_file.read_used(path):
                await asyncio.sleep(0.01)


async def test_a_keyring_that_can_not_be_written_to_harms_nobody(path: Path) -> None:
    ring = KeyRing(path)
    token = keys.create(path, "web", "write", "web")
    async with ring.noting():
        assert ring.bearer(token) is not None
        path.write_text("[{")  # noqa: ASYNC240


def test_keys_of_before_tokens_had_a_checksum_can_be_rotated(path: Path, tmp_path: Path) -> None:
    before = {"kind": "write", "source": "web", "created": "2026-01-01T00:00:00+00:00", "scopes": []}
    path.write_text(json.dumps([{"id": "1a2b3c4d", "name": "demo-web", "hash": "00", **before}]))
    (tmp_path / "keys.json").write_text(json.dumps({"demo-web": "candor_of_before"}))
    assert KeyRing(path).bearer(keys.rotate(path, "demo-web")) is not None
    settings = Settings(identifier_key=b"k" * 16, postgres_password="x", home=tmp_path, keyring=path)
    assert KeyRing(path).write_key(keys.ensure_default_keys(settings)["demo-web"]) is not None


def test_revoking_what_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(KeyProblem, match="nobody"):
        keys.revoke(path, "nobody")


def test_default_keys_are_made_once(path: Path, tmp_path: Path) -> None:
    settings = Settings(identifier_key=b"k" * 16, postgres_password="x")
    settings = replace(settings, home=tmp_path, keyring=path)
    first = keys.ensure_default_keys(settings)
    assert keys.ensure_default_keys(settings) == first
    assert set(first) == {"demo-web", "demo-server", "admin"}
    ring = KeyRing(path)
    assert ring.write_key(first["demo-web"]) is not None
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
