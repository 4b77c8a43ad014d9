"""Times and lengths of time, as commands take them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from services.cli import candor
from services.commands.output import Moment, Span, Time
from services.kernel.clock import SystemClock

SPANS = (
    "keys rotate shop --grace",
    "breach --since",
    "breach --since 2026-01-01 --until",
    "deadletters list --since",
    "deadletters replay --until",
)
TIMES = (*SPANS[1:], "keys create shop --kind admin --expires")


@pytest.mark.parametrize("command", SPANS)
@pytest.mark.parametrize("span", ["999999999d", "36501d", "876001h"])
def test_a_span_that_leads_out_of_all_years_is_refused(command: str, span: str) -> None:
    result = CliRunner().invoke(candor, [*command.split(), span])
    assert result.exit_code == click.UsageError.exit_code, result.exception
    assert "36500d (100 years) at most" in result.output


@pytest.mark.parametrize("command", SPANS)
@pytest.mark.parametrize("text", ["9999999999s", "1w", "-1d", "soon", ""])
def test_what_is_no_span_is_refused(command: str, text: str) -> None:
    result = CliRunner().invoke(candor, [*command.split(), text])
    assert result.exit_code == click.UsageError.exit_code, result.exception
    assert "such as 30s" in result.output or "such as 30m" in result.output


@pytest.mark.parametrize("command", TIMES)
@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "2026-13-01"])
def test_a_time_that_is_none_is_refused(command: str, text: str) -> None:
    result = CliRunner().invoke(candor, [*command.split(), text])
    assert result.exit_code == click.UsageError.exit_code, result.exception
    assert "expected a time such as 2026-05-01" in result.output


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(days=1)),
        ("999999999s", timedelta(seconds=999_999_999)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_a_span_and_an_age(text: str, span: timedelta) -> None:
    assert Span().convert(text, None, None) == span
    before = SystemClock().now()
    moment = Moment().convert(text, None, None) + span // timedelta(microseconds=1)
    assert before <= moment <= SystemClock().now()


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00.25", "2026-01-01T02:00:00.25+02:00", "20260101T000000.25Z"]
)
def test_a_time_is_of_utc_unless_it_says_otherwise(text: str) -> None:
    assert Time().convert(text, None, None) == datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)
    assert Moment().convert(text, None, None) == 1_767_225_600_250_000
