"""The token with which services ask each other."""

from __future__ import annotations

from pathlib import Path

from services.kernel.internal import SCOPE, derived, internal_key, internal_token
from services.kernel.keys import SCOPES, KeyRing, create
from services.kernel.settings import Settings


def settings(key: bytes) -> Settings:
    return Settings(identifier_key=key, postgres_password="")


def test_it_opens_what_services_ask_each_other_and_nothing_else(tmp_path: Path) -> None:
    own = settings(bytes(32))
    create(tmp_path / "keyring.json", "web", "write", "web")
    ring = KeyRing(tmp_path / "keyring.json", own=[internal_key(own)])
    found = ring.bearer(internal_token(own))
    assert found is not None
    assert found.scopes == {SCOPE}
    assert SCOPE not in SCOPES
    assert ring.write_key(internal_token(own)) is None


def test_who_has_another_identifier_key_has_another_token(tmp_path: Path) -> None:
    create(tmp_path / "keyring.json", "web", "write", "web")
    ring = KeyRing(tmp_path / "keyring.json", own=[internal_key(settings(bytes(32)))])
    assert ring.bearer(internal_token(settings(bytes([1]) * 32))) is None


def test_each_purpose_has_a_key_of_its_own() -> None:
    own = settings(bytes(32))
    assert derived(own, "links") != derived(own, "internal")
    assert derived(own, "links")[:16] != own.hasher()("links", "")
