"""HTTP requests made before the measurement, and runs of the load generator over them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.bench.arrivals import Entry
from tests.bench.processes import child
from tests.bench.workload import Call, Workload, name_of


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the workload in a file of requests.

    `bodies`: the number of its body by message id; `entries`: the number of the body that causes it by entry.
    """

    file: Path
    events: int
    bodies: Mapping[str, int]
    entries: Mapping[Entry, int]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the load generator saw. Times are monotonic nanoseconds; `answered` goes by number of the body."""

    started: int
    answered: list[int]
    repeats: int
    cpu: float

    @property
    def seconds(self) -> float:
        return (max(self.answered) - self.started) / 1e9


def part(folder: Path, workload: Workload, calls: Iterator[Call], size: int, batch: int, name: str) -> Part:
    """The next `size` of the calls, which are the workload's, in bodies of `batch` each."""
    before = set(workload.entered)
    file = folder / f"{name}.load"
    bodies: dict[str, int] = {}
    first = None
    with file.open("wb") as out:
        while taken := list(islice(calls, min(batch, size - len(bodies)))):
            first = taken[0].index if first is None else first
            body = b'{"batch":[' + b",".join(call.body() for call in taken) + b"]}"
            out.write(len(body).to_bytes(4, "big") + body)
            bodies.update(dict.fromkeys((call.message_id for call in taken), len(bodies) // batch))
    entries = {
        (key, name_of(person)): (workload.entered[key, person] - (first or 0)) // batch
        for key, person in workload.entered.keys() - before
    }
    return Part(file, len(bodies), bodies, entries)


def send(file: Path, port: int, *, connections: int, rate: float = 0, authorization: str = "") -> Answers:
    """Run the load generator to its end. `rate`: requests a second, 0 for as fast as they are answered."""
    result = file.with_suffix(".answers")
    arguments = (str(file), str(port), str(connections), str(rate), str(result), authorization)
    with child("load", "-m", "tests.bench.load", *arguments, log=file.with_suffix(".log")) as load:
        load.wait(300)
    return Answers(**json.loads(result.read_text()))
