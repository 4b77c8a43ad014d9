"""The last line of `make test`: several runs of pytest added up, in the form of its own summary.

Run with a JUnit report and an exit code for each: ``python -m tests.support.summary REPORT CODE …``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

KINDS = {"failures": "failed", "skipped": "skipped", "errors": "error"}


def main(arguments: Sequence[str]) -> int:
    """Print the line. 0 when every run was green: a run that broke off is an error, whatever it says."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for report, code in zip(arguments[::2], arguments[1::2], strict=True):
        found, lasted = counted(Path(report))
        if int(code) and not (found["failed"] or found["error"]):
            found["error"] += 1
        counts += found
        seconds += lasted
    told = [f"{counts[kind]} {kind}" for kind in ("failed", "passed", "skipped", "error") if counts[kind]]
    if counts["error"] > 1:
        told[-1] += "s"
    print(f"=== {', '.join(told)} in {seconds:.1f}s ===")
    return 1 if counts["failed"] or counts["error"] or not counts["passed"] else 0


def counted(report: Path) -> tuple[Counter[str], float]:
    """How its tests ended, and how long they took; one error where there is no report."""
    try:
        suites = ElementTree.parse(report).getroot().findall("testsuite")  # noqa: S314 - pytest wrote it
    except (OSError, ElementTree.ParseError):
        return Counter(error=1), 0.0
    report.unlink()  # it must not be taken for that of a later run
    counts: Counter[str] = Counter()
    for suite in suites:
        other = Counter({kind: int(suite.get(name, 0)) for name, kind in KINDS.items()})
        counts += other
        counts["passed"] += int(suite.get("tests", 0)) - other.total()
    return counts, sum(float(suite.get("time", 0)) for suite in suites)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
