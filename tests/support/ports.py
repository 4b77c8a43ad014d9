"""Ports for servers that a test is about to start."""

from __future__ import annotations

import os

from deploy.local import process

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_given: set[int] = set()


def free_port() -> int:
    """A free TCP port, given once: neither this nor another worker of the run is given it a second time."""
    while True:
        port = process.free_port()
        # Halved, as Linux offers odd ones only.
        if port // 2 % _WORKERS == _WORKER and port not in _given:
            _given.add(port)
            return port
