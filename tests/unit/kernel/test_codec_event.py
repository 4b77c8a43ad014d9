"""Events have an encoder of their own: it writes what fastavro writes."""

from io import BytesIO

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import codec
from services.kernel.events import Event
from services.kernel.outcome import BadRecord

TEXT = st.text(max_size=300)
LONG = st.integers(-(2**63), 2**63 - 1)
EVENTS = st.builds(
    Event,
    message_id=TEXT, source=TEXT, type=TEXT, name=st.none() | TEXT, user_id=st.none() | TEXT,
    anonymous_id=st.none() | TEXT, previous_id=st.none() | TEXT, group_id=st.none() | TEXT,
    timestamp=LONG, timestamp_bounded=st.booleans(), received_at=LONG,
    received_day=st.integers(-(2**31), 2**31 - 1), payload=st.binary(max_size=300),
    place=st.none() | TEXT, place_declared=st.booleans(),
)  # fmt: skip


@given(EVENTS)
def test_any_event_is_encoded_as_fastavro_does(event: Event) -> None:
    header, schema = codec._writer(Event)
    expected = BytesIO()
    fastavro.schemaless_writer(expected, schema, msgspec.to_builtins(event, builtin_types=(bytes,)))
    assert codec.encode(event) == header + expected.getvalue()
    assert codec.decode(Event, codec.encode(event)) == event


@given(EVENTS, st.sampled_from([{"name": "\ud800"}, {"timestamp": 2**63}, {"payload": None}, {"user_id": 5}]))
def test_an_event_that_does_not_fit_is_refused(event: Event, wrong: dict[str, object]) -> None:
    with pytest.raises(BadRecord, match="unencodable"):
        codec.encode(msgspec.structs.replace(event, **wrong))
