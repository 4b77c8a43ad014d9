"""Where the time goes: py-spy beside the processes of a measurement, and the top functions as text."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import BenchError

RATE = 200
TOP = 40
IDLE = "_worker (concurrent/futures/thread.py"
"""A thread of a pool that waits for work, which py-spy takes for busy."""


@contextmanager
def profiled(row: str, pids: Mapping[str, int], folder: Path | None) -> Iterator[None]:
    """Sample those Python processes for the length of the block; ROW-PROCESS.txt of each in `folder`.

    Sampling slows them down: the figures of a profiled run are no figures.
    """
    if folder is None:
        yield
        return
    sampler_path = Path(sys.executable).with_name("py-spy")
    if not sampler_path.exists():
        raise BenchError("profiles need py-spy: .venv/bin/pip install py-spy")
    folder.mkdir(parents=True, exist_ok=True)
    samplers = {}
    for name, pid in pids.items():
        raw = folder / f"{row}-{name}.raw"
        options = ("--pid", str(pid), "--rate", str(RATE), "--format", "raw", "--output", str(raw))
        samplers[raw] = subprocess.Popen([sampler_path, "record", *options], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        for raw, sampler in samplers.items():
            if sampler.poll() is None:
                sampler.send_signal(signal.SIGINT)
            sampler.wait(30)
            if raw.exists():
                raw.with_suffix(".txt").write_text(summary(raw.read_text()))


def summary(stacks: str) -> str:
    """The functions with the most samples of their own, and those with the most below them."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        if IDLE in stack:
            continue
        functions = [frame.rpartition(":")[0] for frame in stack.split(";")]
        own[functions[-1]] += int(samples)
        for function in set(functions):
            below[function] += int(samples)
    total = own.total() or 1
    lines = [f"{total} samples at {RATE} a second\n\nown"]
    lines += [f"{100 * samples / total:5.1f} %  {function})" for function, samples in own.most_common(TOP)]
    lines += ["\nwith what it calls"]
    lines += [
        f"{100 * samples / total:5.1f} %  {function})" for function, samples in below.most_common(2 * TOP)
    ]
    return "\n".join(lines) + "\n"
