"""The tracking plan: what it finds, what it says of it, and when a changed file is taken up."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.plan import InvalidPlan, Plan, Violation
from services.ingest.plans import Plans, load
from services.kernel.events import Event

ORDER = {
    "type": "object",
    "required": ["total"],
    "properties": {"total": {"type": "number"}, "items": {"items": {"type": "string", "maxLength": 9}}},
    "additionalProperties": False,
}
PLAN = {
    "version": 1,
    "sources": {
        "web": {
            "mode": "block",
            "unplanned": "report",
            "events": {
                "Order Completed": {"schema": ORDER},
                "$identify": {"mode": "report", "schema": {"required": ["email"]}},
            },
        },
        "*": {"events": {"Order Completed": {"schema": {"required": ["currency"]}}}},
    },
}


def event(
    payload: Any, *, source: str = "web", type_: str = "track", name: str | None = "Order Completed"
) -> Event:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Event("m", source, type_, name, "u", None, None, None, 0, False, 0, 0, raw)


@pytest.mark.parametrize(
    ("properties", "detail"),
    [
        ({"total": 1, "items": ["a"]}, None),
        ({}, "$.properties: total is missing"),
        ({"total": "4111 1111 1111 1111"}, "$.properties.total: expected number"),
        ({"total": 1, "items": ["a", "secret value"]}, "$.properties.items[1]: breaks maxLength"),
        ({"total": 1, "colour": "red"}, "$.properties: colour is not in the plan"),
    ],
)
def test_a_violation_names_its_place_and_no_value(properties: Any, detail: str | None) -> None:
    found = Plan(PLAN).judge(event({"properties": properties}))
    assert found == (None if detail is None else Violation("block", detail))


def test_other_calls_other_sources_and_unplanned_events() -> None:
    plan = Plan(PLAN)
    assert plan.judge(event({"traits": {"email": "x"}}, type_="identify", name=None)) is None
    assert plan.judge(event({}, type_="identify", name=None)) == Violation(
        "report", "$.traits: email is missing"
    )
    assert plan.judge(event({}, name="Else")) == Violation("report", "$.event: not in the plan")
    assert plan.judge(event({}, source="app")) == Violation("report", "$.properties: currency is missing")
    assert plan.judge(event({}, source="app", name="Else")) is None


def test_a_number_that_does_not_fit_is_a_violation_and_no_error() -> None:
    assert Plan(PLAN).judge(event(b'{"properties":{"total":1e999}}')) == Violation(
        "block", "$.properties: can not be read"
    )


@pytest.mark.parametrize(
    ("document", "places"),
    [
        (None, ["the plan: "]),
        ({"version": 2, "sources": {}}, ["the plan: "]),
        ({"version": 1, "sources": {"a": {"mod": 1, "events": {}}}}, ["sources.a: "]),
        (
            {
                "version": 1,
                "sources": {
                    "a": {"events": {"E": {"schema": {"type": "objec"}}, "F": {"mode": "x", "schema": {}}}},
                    "b": {"events": {"G": {"schema": {"properties": {"h": {"$ref": "file:///etc/passwd"}}}}}},
                },
            },
            ["sources.a.events.E.schema.type: ", "sources.a.events.F: ", "sources.b.events.G.schema: "],
        ),
    ],
)
def test_a_wrong_plan_is_refused_with_every_place(document: Any, places: list[str]) -> None:
    with pytest.raises(InvalidPlan) as raised:
        Plan(document)
    lines = str(raised.value).splitlines()
    assert len(lines) == len(places)
    assert all(line.startswith(place) for line, place in zip(lines, places, strict=True))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_no_properties_whatever_lead_to_an_error(properties: Any) -> None:
    Plan(PLAN).judge(event({"properties": properties}))


def test_a_changed_file_is_taken_up_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    plans = Plans(path, monotonic=itertools.count(0, 2).__next__)
    assert plans.judge(event({})) is None
    path.write_text(yaml.safe_dump(PLAN))
    assert plans.judge(event({})) is not None
    path.write_text("version: [")
    assert plans.judge(event({})) is not None
    path.unlink()
    assert plans.judge(event({})) is None


def test_a_wrong_file_at_the_start_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("version: 1\nsources: {web: {events: 3}}")
    with pytest.raises(InvalidPlan, match="^plan.yaml: sources.web: "):
        Plans(path)
    with pytest.raises(InvalidPlan, match=f"^{tmp_path.name}: "):
        load(tmp_path)


def test_a_reported_violation_is_kept_once_a_minute(tmp_path: Path) -> None:
    now = 0.0
    plans = Plans(tmp_path / "none", monotonic=lambda: now)
    one, other = Violation("report", "$.a"), Violation("report", "$.b")
    assert [plans.is_new(event({}), each) for each in (one, other, one)] == [True, True, False]
    now = 61
    assert plans.is_new(event({}), one)
