"""The processes of a measurement: started, ended, and what each of them used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.local.process import REPOSITORY


class BenchError(Exception):
    """The measurement can't go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the measurement, under the name that the report gives it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raises BenchError with the end of the log when the process has ended with an error."""
        if self.process.poll():
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise BenchError(f"{self.name} ended with {self.process.returncode}:\n{tail}")

    def wait(self, seconds: float) -> None:
        """Until it has ended well, at most so long."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not end within {seconds:.0f} s, see {self.log}") from None
        self.check()


@contextmanager
def child(
    name: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """`python arguments…` for the length of the block; it has ended when the block is left."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    try:
        yield Child(name, process, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(
    condition: Callable[[], bool], seconds: float, what: str, *children: Child, every: float = 0.05
) -> None:
    """Poll `condition`. Raises BenchError after `seconds`, or as soon as one of `children` has failed."""
    deadline = time.monotonic() + seconds
    while not condition():
        for one in children:
            one.check()
        if time.monotonic() > deadline:
            raise BenchError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU time used so far by each process and its children, living and ended; 0 of one that is gone."""
    used = {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
            own = process.cpu_times()
        except psutil.NoSuchProcess:
            used[name] = 0.0
            continue
        used[name] = sum(t.user + t.system for t in times) + own.children_user + own.children_system
    return used


def resident_anonymous(pid: int) -> float:
    """RssAnon of one process in megabytes (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchError(f"no RssAnon of process {pid}")


@contextmanager
def cpu_per_event(pids: Mapping[str, int], into: dict[str, float], events: int) -> Iterator[None]:
    """Microseconds of CPU an event that each process used within the block."""
    before = cpu_seconds(pids)
    yield
    after = cpu_seconds(pids)
    into.update({name: round((after[name] - before[name]) / events * 1e6, 1) for name in pids})
