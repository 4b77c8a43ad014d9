"""The last line of `make test`, from reports as pytest writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.summary import main


def report(
    folder: Path, name: str, code: int, *, failed: int = 0, errors: int = 0, skipped: int = 0, tests: int = 2
) -> list[str]:
    """A report and an exit code, as arguments."""
    file = folder / f"{name}.xml"
    file.write_text(
        '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" '
        f'errors="{errors}" failures="{failed}" skipped="{skipped}" tests="{tests}" time="20.128" '
        'timestamp="2026-11-25T04:11:12.112233+00:00" hostname="here"><testcase classname="a" name="b" '
        'time="0.000" /></testsuite></testsuites>'
    )
    return [str(file), str(code)]


def test_runs_are_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [*report(tmp_path, "one", 0, tests=1460), *report(tmp_path, "two", 0, skipped=1, tests=4)]
    assert main(runs) == 0
    assert capsys.readouterr().out == "=== 1463 passed, 1 skipped in 40.3s ===\n"


def test_whatever_is_not_green_in_one_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [*report(tmp_path, "one", 1, failed=2, errors=1, skipped=1, tests=9), *report(tmp_path, "two", 0)]
    assert main(runs) == 1
    assert capsys.readouterr().out == "=== 2 failed, 7 passed, 1 skipped, 1 error in 40.3s ===\n"


@pytest.mark.parametrize("code", [2, 3, 5, 130])
def test_a_run_that_broke_off_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    assert main([*report(tmp_path, "one", 0), *report(tmp_path, "two", code)]) == 1
    assert capsys.readouterr().out == "=== 4 passed, 1 error in 40.3s ===\n"


def test_a_report_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of a run before this one is not taken for one that a killed run did not write."""
    runs = [*report(tmp_path, "one", 0), *report(tmp_path, "two", 0)]
    assert (main(runs), main(runs)) == (0, 1)
    assert capsys.readouterr().out.splitlines()[1] == "=== 2 errors in 0.0s ==="
