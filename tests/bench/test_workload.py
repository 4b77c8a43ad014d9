"""The workload is what docs/benchmarks.md says, else no figure means anything."""

import json
from itertools import islice

import pytest

from tests.bench.report import compared, print_row
from tests.bench.workload import Workload, is_opted_out

START = 1_800_000_000


@pytest.mark.parametrize("zipf", [1.1, None])
def test_about_five_per_cent_of_the_events_cause_a_transition(zipf: float | None) -> None:
    workload = Workload(zipf=zipf, started=START)
    calls = list(islice(workload.calls(), 30_000))
    assert 0.04 < len(workload.entered) / len(calls) < 0.07
    assert not any(is_opted_out(person) for _, person in workload.entered)


def test_an_event_has_about_a_kilobyte() -> None:
    sizes = [len(call.body()) for call in islice(Workload(started=START).calls(), 2_000)]
    assert 900 < sum(sizes) / len(sizes) < 1_100


def test_a_fifth_of_the_events_has_letters_beyond_ascii() -> None:
    bodies = [call.body() for call in islice(Workload(started=START).calls(), 2_000)]
    assert 0.17 < sum(not body.isascii() for body in bodies) / len(bodies) < 0.23


def test_the_same_seed_gives_the_same_bytes_and_transitions() -> None:
    first, second = Workload(started=START), Workload(started=START)
    bodies = [[call.body() for call in islice(one.calls(), 2_000)] for one in (first, second)]
    assert bodies[0] == bodies[1]
    assert first.entered == second.entered


def test_every_call_is_json_with_an_id_of_its_own() -> None:
    calls = [json.loads(call.body()) for call in islice(Workload(started=START).calls(), 2_000)]
    assert len({call["messageId"] for call in calls}) == len(calls)
    assert {call["type"] for call in calls} == {"track", "page", "identify"}


def test_a_row_has_the_members_that_are_promised(capsys: pytest.CaptureFixture[str]) -> None:
    print_row(compared("gate", 70_000, "events/s", 140_000, events=5))
    row = json.loads(capsys.readouterr().out)
    assert {name: row[name] for name in ("name", "value", "unit", "baseline", "ratio")} == {
        "name": "gate",
        "value": 70_000,
        "unit": "events/s",
        "baseline": 140_000,
        "ratio": 0.5,
    }
    assert (row["floor"], row["reach"]) == (0.4, 0.5)
