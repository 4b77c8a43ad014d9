"""What docs/guides/mobile.md tells an app to send: the texts are there, a decision counts once."""

from __future__ import annotations

import secrets
import uuid

import httpx

from tests.web.popup.conftest import Shop


def test_an_app_asks_and_decides(shop: Shop) -> None:
    key = shop.tokens["demo-web"]
    query = {"language": "de-AT", "jurisdiction": "AT", "writeKey": key}
    policy = httpx.get(f"{shop.consent}/v1/policy", params=query).raise_for_status().json()
    assert (policy["language"], policy["regime"], policy["direction"]) == ("de", "opt_in", "ltr")
    assert policy["texts"]["reject"] and all(purpose["name"] for purpose in policy["purposes"])
    purposes = [purpose["id"] for purpose in policy["purposes"]]
    visitor = str(uuid.uuid4())
    decision = {
        "writeKey": key,
        "id": str(uuid.uuid4()),
        "identifiers": {"anonymous_id": visitor},
        "secret": secrets.token_hex(32),
        "purposes": {**dict.fromkeys(purposes, "deny"), "analytics": "grant"},
        "method": "save",
        "shown": purposes,
        "policy_version": policy["version"],
        "text_hash": policy["text_hash"],
        "language": policy["language"],
        "jurisdiction": policy["jurisdiction"],
        "regime": policy["regime"],
        "url": "app://de.shop/start",
        "client_time": "2026-01-31T12:00:00Z",
    }
    for _ in range(2):
        assert httpx.post(f"{shop.consent}/v1/decisions", json=decision, timeout=20).status_code == 200
    assert len(shop.ledger(visitor)) == 1
    assert shop.decided(visitor) == {"analytics": True, "personalization": False, "marketing": False}
