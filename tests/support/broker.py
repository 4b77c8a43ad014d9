"""A Kafka of a test's own, which can be taken away and brought back with its data."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from deploy.local import kafka
from deploy.local.process import HOST, LocalStackError, is_listening, running
from tests.support.ports import free_port

_START_SECONDS = 60


class Broker:
    """Not running at first; what it keeps stands in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "kafka.log"
        self._process = kafka.prepare(folder / "kafka", free_port(), free_port(), short_lived=True)
        self._running = ExitStack()

    @property
    def address(self) -> str:
        return f"{HOST}:{self._process.port}"

    def start(self) -> None:
        self._running.enter_context(running(self._process, self._log))
        deadline = time.monotonic() + _START_SECONDS
        while not is_listening(self._process.port):
            if time.monotonic() > deadline:
                raise LocalStackError(f"not up after {_START_SECONDS} s:\n{self._log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        self._running.close()
