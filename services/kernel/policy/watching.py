"""The policy in force: a changed file is taken up while the process runs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from services.kernel import metrics
from services.kernel.clock import Clock
from services.kernel.policy.model import Policy
from services.kernel.policy.reading import InvalidPolicy, load

LOOK_SECONDS = 0.5
"""Between two looks at the file: a change is in force within two seconds."""

log = logging.getLogger(__name__)


class InForce(Protocol):
    """Where the policy is taken from, anew for each thing that is decided. ``judging_since``: when this
    process began to judge profiles as the policy says, µs; 0 where it always did."""

    @property
    def current(self) -> Policy: ...
    @property
    def judging_since(self) -> int: ...


class Policies:
    """The policy of that file. Raises InvalidPolicy at the start; later a file that is wrong or gone leaves
    the policy before it in force, is logged and shown in ``candor_policy_wrong``.

    ``current`` changes between two steps of the event loop, never within one.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._stamp = self._look()
        self.current = load(path)
        self.judging_since = 0
        self._show(wrong=False)

    async def run(self) -> None:
        """Watch the file until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                await self._take_up()

    async def _take_up(self) -> None:
        try:
            policy = await asyncio.to_thread(load, self._path)
        except InvalidPolicy as error:
            log.error("the policy is wrong, the one before stays in force", extra={"why": str(error)})
            self._show(wrong=True)
            return
        if policy != self.current:
            if policy.judged_by != self.current.judged_by:
                self.judging_since = self._clock.now()
            self.current = policy
            log.info("policy taken up", extra={"version": policy.version, "hash": policy.hash})
        self._show(wrong=False)

    def _show(self, *, wrong: bool) -> None:
        metrics.POLICY_VERSION.set(self.current.version)
        metrics.POLICY_WRONG.set(wrong)

    def _look(self) -> tuple[int, int, int] | None:
        """What differs once the file was written or replaced; None while it is gone."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size
