"""What POST /v1/decisions takes: every error names its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.request import Invalid, read
from services.kernel.identifier import Identifier

PURPOSES = ("analytics", "marketing")
BODY: dict[str, Any] = {"identifiers": {"anonymous_id": "a"}, "purposes": {"marketing": "deny"}}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["user_id", "marketing", "*", ""]), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"purposes": {"marketing": "maybe"}}, "purposes.marketing: expected grant or deny"),
        ({"purposes": {"sales": "deny"}}, "purposes.sales: unknown purpose"),
        ({"purposes": "*"}, "purposes: expected an object"),
        ({"purposes": {}}, "purposes: expected an object"),
        ({"identifiers": None}, "identifiers: expected an object"),
        ({"identifiers": {}}, "identifiers: expected 1 to 50"),
        ({"identifiers": {"email": "a@b.example"}}, "identifiers.email: unknown kind"),
        ({"identifiers": {"user_id": " "}}, "identifiers.user_id: expected a text"),
        ({"identifiers": {"user_id": 7}}, "identifiers.user_id: expected a text"),
        ({"identifiers": ["user_id"]}, "identifiers[0]: expected kind:value"),
        ({"identifiers": [["user_id:u"]]}, "identifiers[0]: expected a text"),
        ({"method": "scrolled"}, "method: expected one of"),
        ({"method": "gpc", "purposes": {"*": "grant"}}, "method: a GPC signal grants nothing"),
        ({"id": ""}, "id: expected a text"),
        ({"id": "a\0b"}, "id: expected a text"),
        ({"url": 5}, "url: expected a text"),
        ({"shown": ["x" * 5000]}, "shown: expected no more than"),
        ({"client_time": "yesterday"}, "client_time: expected an ISO 8601 time"),
        ({"consent": True}, "consent: unknown member"),
    ],
)
def test_errors_name_their_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(Invalid) as raised:
        read({**BODY, **change}, PURPOSES)
    assert str(raised.value).startswith(place)


@given(
    st.dictionaries(st.sampled_from([*BODY, "identifier", "method", "id", "url", "client_time"]), anything)
)
def test_anything_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        decided = read(body, PURPOSES)
    except Invalid:
        return
    assert decided.identifiers and set(decided.purposes.values()) <= {"grant", "deny"}


@pytest.mark.parametrize(
    "given",
    [
        {"identifiers": {"user_id": " u ", "anonymous_id": ["a", "b"]}},
        {"identifiers": ["user_id:u", "anonymous_id:a", "anonymous_id:b"]},
        {"identifier": {"user_id": "u", "anonymous_id": ["a", "b", "a "]}},
    ],
)
def test_identifiers_may_be_written_in_several_ways(given: dict[str, Any]) -> None:
    assert read({"purposes": {"*": "deny"}, **given}, PURPOSES).identifiers == {
        Identifier("user_id", "u"),
        Identifier("anonymous_id", "a"),
        Identifier("anonymous_id", "b"),
    }


@pytest.mark.parametrize(
    ("identifiers", "choice", "needed"),
    [
        ({"user_id": "u"}, "grant", True),
        ({"user_id": "u", "anonymous_id": "a"}, "grant", True),
        ({"anonymous_id": "a"}, "grant", False),
        ({"user_id": "u"}, "deny", False),
    ],
)
def test_only_grants_beyond_anonymous_ids_need_a_server_key(
    identifiers: dict[str, str], choice: str, needed: bool
) -> None:
    body = {"identifiers": identifiers, "purposes": {"analytics": "deny", "marketing": choice}}
    assert read(body, PURPOSES).needs_server_key is needed
