"""Chromium with a shop's site in it, which driver.mjs runs and this tells what to do."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.node import NODE, chromium_or_skip, node_environment

DRIVER = Path(__file__).with_name("driver.mjs")
BANNER, LAYER = "Your data, your choice", "Privacy choices"


class Refused(AssertionError):
    """What the browser could not do."""


class Browser:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = itertools.count()

    def call(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"call": name, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(f"{name}{arguments}: {answer['error']}")
        return answer["value"]

    @contextmanager
    def visit(self, **options: Any) -> Iterator[Visit]:
        """A new visitor on a page. ``page``, ``attributes`` of our tag, ``gpc``; the rest are Playwright's
        options of a context. Nothing on the page may have failed."""
        visit = Visit(self, next(self._numbers))
        self.call("visit", visit.number, options)
        try:
            yield visit
            assert visit.call("errors") == []
        finally:
            visit.call("close")


@dataclass(frozen=True)
class Visit:
    """A visitor's tab."""

    browser: Browser
    number: int

    def call(self, name: str, *arguments: Any) -> Any:
        return self.browser.call(name, self.number, *arguments)

    def js(self, expression: str) -> Any:
        return self.call("evaluate", expression)

    def click(self, name: str, role: str = "button") -> None:
        self.call("click", role, name)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.call("press", key)

    def appears(self, name: str = BANNER, role: str = "region") -> None:
        self.call("waitFor", role, name, "visible")

    def vanishes(self, name: str = BANNER, role: str = "region") -> None:
        self.call("waitFor", role, name, "hidden")

    def until(self, condition: str) -> None:
        self.call("waitUntil", condition)

    def ready(self) -> None:
        """Wait until the pop-up has been asked to show itself or not."""
        self.js("candor.ready.then(() => true)")

    def acknowledged(self) -> dict[str, Any]:
        """What is kept, once the consent service has acknowledged it."""
        self.until("JSON.parse(localStorage.getItem('candor.choice'))?.pending?.length === 0")
        kept: dict[str, Any] = self.kept()
        return kept

    def kept(self) -> Any:
        return self.js("JSON.parse(localStorage.getItem('candor.choice'))")

    def asked(self, part: str) -> list[dict[str, Any]]:
        """The requests so far whose address contains that."""
        return [request for request in self.call("requests") if part in request["url"]]


@contextmanager
def running_browser(consent: str, ingest: str, write_key: str) -> Iterator[Browser]:
    with node_environment() as environment:
        process = subprocess.Popen(
            [str(NODE), str(DRIVER), consent, ingest, write_key, chromium_or_skip()],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            yield Browser(process)
        finally:
            process.communicate(timeout=20)
