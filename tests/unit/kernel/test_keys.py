from __future__ import annotations

import stat
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.kernel import keys
from services.kernel.keys import KeyProblem, KeyRing
from services.kernel.outcome import Outage
from services.kernel.settings import Settings


class Watch:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def test_a_token_is_shown_once_and_kept_nowhere(path: Path) -> None:
    token = keys.create(path, "shop", "write", "shop-web")
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = KeyRing(path).write_key(token)
    assert key is not None
    assert (key.name, key.source, key.scopes) == ("shop", "shop-web", frozenset())


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
    assert ring.bearer("candor_unknown") is None
    assert ring.bearer(token) is not None


def test_a_keyring_that_was_never_there_is_an_outage(path: Path) -> None:
    """Not an unknown key: SDKs would throw their events away."""
    ring = KeyRing(path)
    for _ in range(2):
        with pytest.raises(Outage):
            ring.write_key("candor_x")
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
    assert ring.write_key("candor_other") is None


def test_unknown_tokens_are_not_kept(path: Path) -> None:
    keys.create(path, "shop", "write", "shop-web")
    ring = KeyRing(path)
    assert ring.bearer("x" * 100_000) is None
    tracemalloc.start()
    for number in range(2000):
        assert ring.bearer(f"{number}" * 40) is None
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20_000


@pytest.mark.parametrize(
    ("name", "kind", "source", "place"),
    [("x", "root", "s", "kind"), ("x", "write", None, "source"), ("taken", "write", "s", "name")],
)
def test_bad_keys_are_refused_with_the_place(
    path: Path, name: str, kind: str, source: str | None, place: str
) -> None:
    keys.create(path, "taken", "admin")
    with pytest.raises(KeyProblem, match=f"^{place}:"):
        keys.create(path, name, kind, source)


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
