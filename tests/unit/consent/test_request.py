"""What POST /v1/decisions takes: every error names its place."""

from __future__ import annotations

import json
import unicodedata
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.request import Invalid, read
from services.kernel.audit import bounded
from services.kernel.identifier import Identifier
from tests.support.card_corpus import cards
from tests.support.cleaner import CLEANER

CARD = "4111111111111111"
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
        ({"purposes": {"marketing": "deny", "sales": "grant"}}, "purposes.sales: unknown purpose"),
        ({"purposes": {"sales": "maybe"}}, "purposes.sales: expected grant or deny"),
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
        ({"id": f"order {CARD}"}, "id: expected no card number"),
        ({"identifiers": {"user_id": CARD}}, "identifiers: the user_id: expected no card number"),
        ({"identifiers": [f"anonymous_id:{CARD}"]}, "identifiers: the anonymous_id: expected no card number"),
        ({"shown": [json.loads('{"":' * 600 + "1" + "}" * 600)]}, "shown: too deep"),
    ],
)
def test_errors_name_their_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(Invalid) as raised:
        read({**BODY, **change}, PURPOSES, CLEANER)
    assert str(raised.value).startswith(place) and CARD not in str(raised.value)


@given(
    st.dictionaries(st.sampled_from([*BODY, "identifier", "method", "id", "url", "client_time"]), anything)
)
def test_anything_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        decided = read(body, PURPOSES, CLEANER)
    except Invalid:
        return
    assert decided.identifiers and set(decided.purposes.values()) <= {"grant", "deny"}


@given(st.dictionaries(st.sampled_from([*PURPOSES, "*"]) | st.text(), st.just("deny"), min_size=1))
def test_no_unknown_purpose_costs_a_person_the_rest_of_their_no(denied: dict[str, str]) -> None:
    """Such as one that a page of yesterday still shows."""
    decided = read({**BODY, "purposes": denied}, PURPOSES, CLEANER)
    known = denied.keys() & {*PURPOSES, "*"}
    assert decided.purposes == dict.fromkeys(known, "deny")
    assert decided.ignored == denied.keys() - known


@pytest.mark.parametrize(
    "given",
    [
        {"identifiers": {"user_id": " u ", "anonymous_id": ["a", "b"]}},
        {"identifiers": ["user_id:u", "anonymous_id:a", "anonymous_id:b"]},
        {"identifier": {"user_id": "u", "anonymous_id": ["a", "b", "a "]}},
    ],
)
def test_identifiers_may_be_written_in_several_ways(given: dict[str, Any]) -> None:
    assert read({"purposes": {"*": "deny"}, **given}, PURPOSES, CLEANER).identifiers == {
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
    assert read(body, PURPOSES, CLEANER).needs_server_key is needed


def test_no_card_number_is_left_in_what_is_kept_of_a_decision_or_as_a_reason() -> None:
    """Every brand and writing; in events the same numbers are looked for by test_corpus.py."""
    missed = []
    for sample in {(sample.brand, sample.writing): sample for sample in cards(20261123, 1)}.values():
        proof = {
            "url": f"https://shop.example/?step=2&number={sample.written}&email=hunter2&x=1",
            "shown": ["x", {"note": sample.written, sample.written: 1, "cvv": "737", "password": "hunter2"}],
            "jurisdiction": sample.written,
        }
        kept = json.dumps(read(BODY | proof, PURPOSES, CLEANER).proof, ensure_ascii=False)
        reason = bounded(f"{'asked ' * 80} by phone, card {sample.written}") or ""
        assert "hunter2" not in kept and '"737"' not in kept
        for text in (kept, reason):
            read_as = unicodedata.normalize("NFKC", unquote(text))
            if sample.number[:-4] in "".join(filter(str.isdigit, read_as)):
                missed.append((sample.brand, sample.writing, text))
    assert not missed
