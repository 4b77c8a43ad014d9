"""The running services and the demo's shop as tests here use them, over HTTP and in a browser."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.demo.segments import Segment
from deploy.local.process import REPOSITORY, is_listening
from services.kernel.settings import Settings
from tests.support.ports import free_port
from tests.support.services import Service, environment_of
from tests.web.popup.browser import Browser, Visit

_START_SECONDS = 30


@dataclass(frozen=True)
class Visitor:
    """A visitor who holds a secret, as consent.js makes them."""

    anonymous_id: str
    secret: str

    @property
    def proof(self) -> str:
        encoded = base64.urlsafe_b64encode(self.anonymous_id.encode()).decode().rstrip("=")
        return f"{encoded}.{self.secret}"


@dataclass(frozen=True)
class Site:
    settings: Settings
    services: Mapping[str, Service]
    tokens: Mapping[str, str]
    browser: Browser
    shop: str

    @property
    def consent(self) -> str:
        return self.services["consent"].url

    def ask(self, method: str, service: str, path: str, key: str = "admin", **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[key]}"}
        return httpx.request(
            method, self.services[service].url + path, headers=headers, timeout=30, **options
        )

    def define(self, segment: Segment) -> None:
        answer = self.ask("PUT", "segment", f"/v1/segments/{segment.key}", json=segment.definition)
        answer.raise_for_status()

    def visitor(self, **purposes: str) -> Visitor:
        """One who has decided so, or nothing yet."""
        visitor = Visitor(letters(), secrets.token_hex(32))
        if purposes:
            self.decide(visitor, purposes)
        return visitor

    def decide(self, visitor: Visitor, purposes: Mapping[str, str]) -> None:
        decision = {
            "writeKey": self.tokens["demo-web"],
            "identifiers": {"anonymous_id": visitor.anonymous_id},
            "secret": visitor.secret,
            "purposes": purposes,
            "method": "save",
        }
        httpx.post(f"{self.consent}/v1/decisions", json=decision, timeout=30).raise_for_status()

    def send(self, *events: Mapping[str, Any]) -> None:
        batch = {
            "writeKey": self.tokens["demo-web"],
            "batch": [{"messageId": letters(), **e} for e in events],
        }
        httpx.post(f"{self.services['ingest'].url}/v1/batch", json=batch, timeout=30).raise_for_status()

    def profile(self, person: str) -> dict[str, Any] | None:
        """The golden record of `kind:value`, None where there is none."""
        answer = self.ask("GET", "profile", f"/v1/profiles/{person}")
        return answer.json() if answer.is_success else None

    def link(self, **identifiers: str) -> str:
        """The address of a person's page, as the business's server asks for it."""
        asked = {"identifiers": identifiers}
        answer = self.ask("POST", "consent", "/v1/privacy/links", "demo-server", json=asked)
        return str(answer.raise_for_status().json()["url"])

    def collected(self) -> float:
        """How many events ingest has accepted so far."""
        lines = httpx.get(f"{self.services['ingest'].url}/metrics").text.splitlines()
        counts = [
            line for line in lines if line.startswith("candor_records_total") and 'outcome="ok"' in line
        ]
        return sum(float(line.split()[-1]) for line in counts)

    @contextmanager
    def preferences(self, address: str = "", **options: Any) -> Iterator[Visit]:
        """The page in a new browser window; ``address``: what follows its name, or the whole of it."""
        page = address if address.startswith("http") else f"{self.consent}/preferences{address}"
        with self.browser.visit(page=page, **options) as visit:
            yield visit


def letters() -> str:
    """A name that nothing else has, and no card number in it."""
    return "".join(chr(ord("a") + byte % 16) for byte in secrets.token_bytes(24))


def eventually(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait for what no event tells of; what it gave when it held."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


@contextmanager
def storefront(settings: Settings) -> Iterator[str]:
    """The shop's server; its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.demo.storefront", str(port)],
        cwd=REPOSITORY,
        env={**os.environ, **environment_of(settings)},
    )
    try:
        eventually(lambda: process.poll() is None and is_listening(port), _START_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)
