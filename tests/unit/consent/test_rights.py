"""Who a person has shown to be, by when requests are due, receipts, and the copy as a page."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.copy import copy, decision_values, is_theirs, page
from services.consent.domain.ledger import START, Head, Row, Terms, append
from services.consent.domain.receipt import receipt
from services.consent.domain.request_rights import (
    DONE,
    ERASURE,
    FAILED,
    RECTIFICATION,
    STEPS,
    WAITING,
    Request,
    Step,
    due_at,
    gone_after,
    remains,
    request_shown,
    state_of,
)
from services.consent.domain.visitor import (
    Unproven,
    anonymous,
    read_link,
    read_visitor,
    secret_hash,
    sign_link,
)
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher, Identifier, normalise
from services.kernel.topics import registry

KEY = bytes(32)
DAY = 86_400_000_000
SECRET = "ab" * 32
USER = Identifier(USER_ID, "ana")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


# --- proof ---------------------------------------------------------------------------------------------


@given(st.sets(st.text().map(normalise).filter(bool)), st.integers(1, 1 << 60))
def test_a_link_says_whom_it_reaches_until_it_ends(names: set[str], ends: int) -> None:
    named = frozenset(Identifier(USER_ID, name) for name in names)
    token = sign_link(KEY, named, ends)
    assert read_link(KEY, token, ends - 1) == named
    with pytest.raises(Unproven):
        read_link(KEY, token, ends)
    with pytest.raises(Unproven):
        read_link(bytes([1]) * 32, token, 0)


@given(st.data())
def test_an_altered_link_proves_nothing(data: st.DataObject) -> None:
    token = sign_link(KEY, [USER], DAY)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_.").filter(lambda one: one != token[place]))
    altered = token[:place] + letter + token[place + 1 :]
    try:
        assert read_link(KEY, altered, 0) == frozenset({USER})  # only unused bits of the last letter
        assert place in (len(token.partition(".")[0]) - 1, len(token) - 1)
    except Unproven:
        pass


@given(st.text(max_size=200))
def test_whatever_is_shown_is_proof_or_refused(token: str) -> None:
    for read in (lambda: read_link(KEY, token, 0), lambda: read_visitor(token)):
        with pytest.raises(Unproven):
            read()


def test_a_visitor_shows_an_anonymous_id_and_its_secret() -> None:
    token = base64.urlsafe_b64encode("ä-1".encode()).decode().rstrip("=") + "." + SECRET
    assert read_visitor(token) == (Identifier(ANONYMOUS_ID, "ä-1"), secret_hash(SECRET))


@pytest.mark.parametrize("value", ["", "null", "undefined", None, 7, "x" * 501])
def test_what_stands_for_nobody_is_no_visitor(value: object) -> None:
    with pytest.raises(Unproven):
        anonymous(value)


# --- requests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("received", "regime", "due"),
    [
        ("2026-01-31T10:00:00", "opt_in", "2026-02-28T10:00:00"),
        ("2028-01-30T10:00:00", "opt_in", "2028-02-29T10:00:00"),
        ("2026-12-05T00:00:00", "opt_in", "2027-01-05T00:00:00"),
        ("2026-01-31T10:00:00", "opt_out", "2026-03-17T10:00:00"),
    ],
)
def test_requests_are_due_within_a_month_or_45_days(received: str, regime: str, due: str) -> None:
    assert due_at(at(received), regime) == at(due)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ((DONE, DONE), "done"),
        ((DONE, WAITING), "open"),
        ((WAITING, FAILED), "failed"),
        ((FAILED, DONE), "failed"),
    ],
)
def test_a_request_is_as_far_as_its_steps(states: tuple[str, ...], state: str) -> None:
    assert state_of(Step("x", own, None, {}, "") for own in states) == state


def test_what_remains_names_every_topic_that_holds_any_of_it() -> None:
    topics = registry()
    steps = tuple(Step(service, DONE, 5 * DAY, {}, "") for service in STEPS[ERASURE])
    shown = remains(Request("r", ERASURE, "link", frozenset(), DAY, 2 * DAY, steps, frozenset(), DAY), topics)
    named = {one["where"].removeprefix("Kafka: ") for one in shown if one["where"].startswith("Kafka")}
    # segments.definitions and audit.acts hold nothing of the person but what audit says below.
    assert named == topics.keys() - {"segments.definitions", "audit.acts", "privacy.results"}
    until = {one["where"]: one["until"] for one in shown}
    assert until["Kafka: events.permitted"] > "1970-01-13"
    assert until["Kafka: deadletters"] > "1970-02-05"
    assert until["consent: ledger"] is None


def test_a_record_is_gone_once_its_segment_has_closed_and_was_cleaned() -> None:
    deleted = {"cleanup.policy": "delete", "retention.ms": 7_000, "segment.ms": 1_000}
    compacted = {"cleanup.policy": "compact", "segment.ms": 1_000, "max.compaction.lag.ms": 5_000}
    assert gone_after(deleted) >= 8_000_000
    assert gone_after(compacted) >= 7_000_000


@pytest.mark.parametrize(
    ("type", "state", "final"),
    [
        (RECTIFICATION, FAILED, True),
        (RECTIFICATION, WAITING, False),
        (ERASURE, FAILED, False),
        (ERASURE, DONE, True),
    ],
)
def test_what_failed_and_is_not_tried_again_is_final(type: str, state: str, final: bool) -> None:
    steps = tuple(Step(service, state, DAY, {}, "") for service in STEPS[type])
    request = Request("r", type, "link", frozenset(), DAY, DAY, steps)
    assert request_shown(request, {})["final"] is final


# --- receipts and copies -------------------------------------------------------------------------------


def row(*named: bytes, **record: object) -> Row:
    identifiers = tuple(sorted(id.hex() for id in named))
    terms = Terms("d1", "web", identifiers, {"marketing": "grant", "*": "deny"}, "save", DAY, 2 * DAY)
    made, _ = append(Head(0, START, 0), terms, msgspec.json.encode(record), b"s" * 16)
    return made


def test_a_receipt_says_what_was_decided_about_which_text() -> None:
    purposes = {"analytics": "why a", "marketing": "why m"}
    made = receipt(
        row(language="de", text_hash="h", policy_version="3"),
        ["user_id:ana"],
        {"name": "Shop"},
        purposes,
        DAY,
    )
    assert made["record_metadata"]["pii_principal_id"] == ["user_id:ana"]
    assert made["processing"]["privacy_notice"] == {"url": None, "version": "3", "hash": "h"}
    assert [(own["purpose"], own["state"]) for own in made["processing"]["purposes"]] == [
        ("analytics", "withdrawn"),
        ("marketing", "given"),
    ]
    assert {own["event_type"] for own in made["events"]} == {"consent-given", "consent-refused-or-withdrawn"}
    assert made["party_identification"][0]["party_name"] == "Shop"
    assert msgspec.json.decode(msgspec.json.encode(made)) == made


def test_a_receipt_of_an_erased_record_keeps_the_decision() -> None:
    kept = row(language="de")
    made = receipt(Row(kept.position, kept.terms, None, None, kept.commitment, kept.hash), [], {}, {}, DAY)
    assert made["processing"]["language"] is None
    assert made["events"]


def test_who_shares_a_device_is_shown_and_erases_no_others_record() -> None:
    hasher = Hasher(bytes(16))
    ana, ben, device = (
        hasher.of(Identifier.parse(text)) for text in ("user_id:ana", "user_id:ben", "anonymous_id:d")
    )
    named = ["anonymous_id:d", "user_id:ana"]
    kept = row(ana, device, identifiers=named, key="server", url="https://shop.example")
    assert is_theirs(kept, {ana}, hasher)
    assert is_theirs(kept, {ana, device}, hasher)
    [own] = decision_values([kept], {ana, device}, hasher)
    assert own["value"]["record"]["identifiers"] == named
    for person in ({device}, {ben, device}):  # a visitor, another user
        assert not is_theirs(kept, person, hasher)
        [others] = decision_values([kept], person, hasher)
        assert others["value"]["record"] == {"url": "https://shop.example"}
    alone = row(device, identifiers=["anonymous_id:d"])
    assert is_theirs(alone, {ben, device}, hasher)
    signal = row(ana, device, origin="event")
    assert is_theirs(signal, {ana, device}, hasher)
    assert not is_theirs(signal, {ben, device}, hasher)


class _Read(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


NICE = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(
    st.recursive(
        NICE | st.integers() | st.booleans() | st.none(),
        lambda own: st.lists(own) | st.dictionaries(NICE, own),
    )
)
def test_whatever_a_value_is_it_is_shown_and_does_nothing(value: object) -> None:
    said = {"what": "<script>", "value": value, "source": "</td>&", "time": None, "purposes": ["<b>"]}
    found = _Read(page(copy(["user_id:<i>"], DAY, {"profile": [said]})))
    assert not found.tags & {"script", "b", "i"}
    for text in ("<script>", "</td>&", "<b>", "user_id:<i>", *_texts(value)):
        assert text in found.text


def _texts(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [text for own in value for text in _texts(own)]
        case dict():
            return [text for pair in value.items() for own in pair for text in _texts(own)]
    return []
