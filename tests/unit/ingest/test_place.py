"""Where an event says that the person is, in all the ways in which senders say it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from services.ingest.domain.place import declared_place
from services.kernel.policy.model import is_place


def declared(location: Any) -> str | None:
    return declared_place({"location": Raw(json.dumps(location).encode())})


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ({"country": "DE"}, "DE"),
        ({"country": "de", "city": "Berlin"}, "DE"),
        ({"country": "United States", "region": "California"}, "US-CA"),  # Segment's own example
        ({"country": "US", "region": "CA"}, "US-CA"),
        ({"country": "US", "region": "US-CA"}, "US-CA"),
        ({"countryCode": "us", "regionCode": "ca"}, "US-CA"),
        ({"country_code": "USA", "region_code": "ny"}, "US-NY"),
        ({"country": "America", "countryCode": "US", "state": "Texas"}, "US-TX"),
        ({"country": "Canada", "region": "Québec"}, "CA-QC"),
        ({"country": "UK"}, "GB"),
        ({"country": "Côte d'Ivoire"}, "CI"),
        ({"country": "NO"}, "NO"),
        ({"country": "DE", "region": "Atlantis"}, "DE"),
        ({"region": "US-CA"}, "US-CA"),
        ({"country": "Atlantis"}, "ZZ"),
        ({"country": "XX"}, "ZZ"),
        ({"region": "California"}, "ZZ"),
        ("Berlin", "ZZ"),
        ({"country": 5}, None),
        ({"country": "", "city": "Berlin"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_place_is_told_from_codes_and_names(location: Any, place: str | None) -> None:
    assert declared(location) == place


def test_a_context_without_a_location_says_nothing() -> None:
    assert declared_place({"locale": Raw(b'"en-US"'), "timezone": Raw(b'"America/New_York"')}) is None


names = st.sampled_from(["country", "countryCode", "country_code", "region", "regionCode", "state"])


@given(st.dictionaries(names, st.text() | st.none() | st.integers()))
def test_any_location_gives_a_place_that_policies_know(location: dict[str, Any]) -> None:
    place = declared(msgspec.to_builtins(location))
    assert place is None or is_place(place)
