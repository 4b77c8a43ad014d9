"""The benchmark of docs/benchmarks.md: JSON lines on standard output, a table on standard error."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from deploy.local.process import LocalStackError
from tests.bench.bench import Bench
from tests.bench.processes import BenchError
from tests.bench.report import Row, print_row, print_table
from tests.bench.rows import gate, ingest, pipeline, profile
from tests.bench.servers import servers

ALONE: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "ingest_batch": partial(ingest.run, given=ingest.BATCHES),
    "ingest_single": partial(ingest.run, given=ingest.SINGLES),
    "gate": gate.run,
    "profile": profile.run,
}
ROWS = (*ALONE, *pipeline.ROWS)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every row was measured, whatever the figures are."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started ends with us
    rows = []
    try:
        with servers() as running:
            bench = Bench(running, options.seconds, None if options.uniform else 1.1, options.profile)
            for row in measured(bench, options.only or ROWS):
                rows.append(row)
                print_row(row)
    except (BenchError, LocalStackError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        print_table(rows)
    return 0


def measured(bench: Bench, wanted: Sequence[str]) -> Iterator[Row]:
    """The rows in order. Those of the whole pipeline come from one run of it."""
    for name, run in ALONE.items():
        if name in wanted:
            yield from run(bench)
    if whole := [name for name in pipeline.ROWS if name in wanted]:
        yield from pipeline.run(bench, whole)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, help="measure this row; may be repeated")
    parser.add_argument(
        "--seconds", type=float, default=8, help="how long a measurement takes, about (default 8)"
    )
    parser.add_argument("--uniform", action="store_true", help="everybody is as likely, instead of Zipf 1.1")
    parser.add_argument(
        "--profile", type=Path, metavar="DIR", help="write where the time goes there (needs py-spy)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
