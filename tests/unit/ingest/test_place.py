"""Where an event says that the person is, in all the ways in which senders say it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from services.ingest.domain import calls
from services.ingest.domain.collecting import Collector
from services.ingest.domain.payload import Sender
from services.ingest.domain.place import declared_place
from services.ingest.flow import event_message
from services.kernel import codec, headers
from services.kernel.events import Event
from services.kernel.identifier import Hasher
from services.kernel.policy.model import Catalog, CatalogEvent, Source, is_place
from tests.support.cleaner import CLEANER
from tests.support.policy import policy


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


# --- in the record ------------------------------------------------------------------------------------


POLICY = policy(
    sources={"web": Source(jurisdiction="US")},
    catalog=Catalog(
        events={"Seen": CatalogEvent(("analytics",), {}), "$page": CatalogEvent(("analytics",), {})}
    ),
)


def written(call: dict[str, Any], source: str = "web") -> tuple[Event, dict[str, bytes]]:
    """The event of a call, and its record's headers."""
    body = json.dumps({"batch": [{"userId": "u", **call}]}).encode()
    request = calls.read_request(body, None)
    sender = Sender(source, None, None, place=POLICY.place_of(source, None))
    collector = Collector(request, sender, 1, "request", Hasher(b"k" * 32), CLEANER, harmless=True)
    collected = collector.collect(request.calls[0], 0, suspicious=False, harmless=True)
    message = event_message(collected, (), POLICY, gpc=False)
    return codec.decode(Event, message.value), dict(message.headers)


@pytest.mark.parametrize(
    ("location", "source", "place", "is_declared"),
    [
        ({"country": "Germany"}, "web", "DE", True),
        ({}, "web", "US", False),
        (None, "web", "US", False),
        ({"country": "Atlantis"}, "web", "ZZ", True),
        ({}, "other", None, False),
    ],
)
def test_an_event_is_where_it_declares_else_where_its_source_s_people_are(
    location: Any, source: str, place: str | None, is_declared: bool
) -> None:
    event, named = written({"type": "track", "event": "Seen", "context": {"location": location}}, source)
    assert (event.place, event.place_declared) == (place, is_declared)
    assert named.get(headers.PLACE) == (None if place is None else place.encode())


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ({"type": "track", "event": "Seen"}, b"Seen"),
        ({"type": "page", "name": "Home"}, b"$page"),
        ({"type": "track", "event": "Not in the catalog"}, None),
        ({"type": "identify"}, None),
    ],
)
def test_the_gate_is_told_the_names_that_stand_in_the_catalog(
    call: dict[str, Any], name: bytes | None
) -> None:
    _, named = written(call)
    assert named.get(headers.EVENT) == name
