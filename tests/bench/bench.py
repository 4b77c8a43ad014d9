"""What every row needs: the servers, how large to measure, and where to put profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import cpu_per_event
from tests.bench.profiling import profiled
from tests.bench.servers import Servers
from tests.bench.workload import Workload


@dataclass(frozen=True, slots=True)
class Bench:
    """`seconds`: how long each measurement should take, about; `zipf`: None for a uniform workload."""

    servers: Servers
    seconds: float
    zipf: float | None
    profiles: Path | None

    def events(self, rate: int) -> int:
        """How many to measure with, for something that does about `rate` a second; whole batches of 100."""
        return max(1, round(rate * self.seconds / 100)) * 100

    def workload(self) -> Workload:
        return Workload(zipf=self.zipf)

    @contextmanager
    def measured(self, row: str, pids: Mapping[str, int], events: int) -> Iterator[dict[str, float]]:
        """Profiles where asked for; at the end of the block the mapping holds CPU µs an event by process."""
        cpu: dict[str, float] = {}
        with profiled(row, pids, self.profiles), cpu_per_event({**self.servers.pids, **pids}, cpu, events):
            yield cpu
