"""The tracking plan in force: one YAML file, taken up within a second of a change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from services.ingest.domain.plan import InvalidPlan, Plan, Violation, planned_name
from services.kernel.events import Event

REPORT_SECONDS = 60
"""A violation that is reported, not blocked, is kept once in so much time for each source, name and place."""
_KNOWN = 10_000

log = logging.getLogger(__name__)


def load(path: Path) -> Plan:
    """Raises InvalidPlan, naming file and places."""
    try:
        return Plan(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidPlan(f"{path.name}: {error}") from error
    except InvalidPlan as error:
        raise InvalidPlan("\n".join(f"{path.name}: {line}" for line in str(error).splitlines())) from None


class Plans:
    """The plan of that file; none where there is no file.

    A changed file that is wrong is logged, and the plan before it stays in force; at the start it raises
    InvalidPlan.
    """

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._checked = monotonic()
        self._stamp = self._changed()
        self._plan = load(path) if self._stamp else None
        self._reported: dict[tuple[str, str, str], float] = {}

    def judge(self, event: Event) -> Violation | None:
        """In what an event departs from the plan, None where it does not or there is no plan."""
        now = self._monotonic()
        if now - self._checked > 1:
            self._checked = now
            self._refresh()
        return None if self._plan is None else self._plan.judge(event)

    def is_new(self, event: Event, violation: Violation) -> bool:
        """Whether a violation that is reported should be kept, or was a moment ago."""
        now = self._monotonic()
        known = (event.source, planned_name(event.type, event.name), violation.detail)
        if now - self._reported.get(known, float("-inf")) < REPORT_SECONDS:
            return False
        if len(self._reported) >= _KNOWN:
            self._reported.clear()
        self._reported[known] = now
        return True

    def _refresh(self) -> None:
        stamp = self._changed()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._plan = load(self._path) if stamp else None
        except InvalidPlan as error:
            log.error("the tracking plan is wrong, the one before stays in force", extra={"why": str(error)})
        else:
            log.info("tracking plan taken up", extra={"file": self._path.name})

    def _changed(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino
