"""The demo's fixtures, plan and ledger: what the play consists of, and that the books follow from it."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo import ledger, make_data, plan
from deploy.demo.calls import ORDERED, SERVER, WEB
from deploy.demo.ledger import Ledger
from deploy.demo.plan import EVERYTHING, Plan
from deploy.demo.shop import CLEARANCE, WINDOWS

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


@pytest.fixture(scope="module")
def played() -> Plan:
    return plan.make(NOW, "run1")


@pytest.fixture(scope="module")
def books(played: Plan) -> Ledger:
    return ledger.of(played)


def test_the_same_inputs_give_the_same_plan(played: Plan) -> None:
    assert plan.make(NOW, "run1") == played
    assert [call.id for call in plan.make(NOW, "run1", seed=2).before] != [call.id for call in played.before]


def test_all_of_cdnow_is_in_it_to_the_cent_and_ends_yesterday(played: Plan) -> None:
    orders = [order for person in played.people for order in person.orders]
    assert len(orders) == 6919
    assert len([person for person in played.people if person.orders]) == 2357
    assert sum((order.dollars for order in orders), Decimal(0)) == Decimal("244091.94")
    assert max(order.at for order in orders).date() == NOW.date() - timedelta(days=1)
    assert min(order.at for order in orders).date() == NOW.date() - timedelta(days=1) - timedelta(days=545)
    sent = {call.id for call in played.deliveries() if call.activity == ORDERED}
    assert len(sent) == 6919


@settings(max_examples=3, deadline=None)
@given(now=st.datetimes(datetime(2025, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)))
def test_at_any_time_nothing_stands_at_the_edge_of_a_window_or_in_the_future(now: datetime) -> None:
    calls = [call for call in plan.make(now, "r").deliveries() if call.at]
    edges = [now - window for window in WINDOWS]
    counted = [call.at for call in calls if call.at and call.activity in (ORDERED, "Product Viewed")]
    assert all(abs(at - edge) > CLEARANCE - timedelta(minutes=13) for at in counted for edge in edges)
    assert all(call.at < now for call in calls if call.at)


def test_every_identifier_and_message_id_ends_or_begins_with_the_run(played: Plan) -> None:
    for call in played.deliveries():
        assert call.id.startswith("run1-")
        named = [call.arguments.get("user_id"), call.arguments.get("anonymous_id")]
        assert any(named) and all(value is None or value.endswith("-run1") for value in named)


def test_people_browse_before_they_log_in(played: Plan) -> None:
    first: dict[str, tuple[datetime, bool]] = {}
    for call in played.deliveries():
        device = call.arguments.get("anonymous_id")
        if call.source == WEB and device and call.at:
            seen = (call.at, bool(call.arguments.get("user_id")))
            first[device] = min(first.get(device, seen), seen)
    customers = [device for device in first if device.startswith(("browser", "phone"))]
    assert len(customers) > 2357
    assert not any(first[device][1] for device in customers)


def test_orders_come_from_the_server_and_browsing_from_the_web(played: Plan) -> None:
    sources = defaultdict(set)
    for call in played.deliveries():
        sources[call.activity].add(call.source)
    assert sources[ORDERED] == {SERVER}
    assert sources["$page"] == sources["Product Viewed"] == {WEB}


def test_who_opts_out_goes_on_browsing_also_before_logging_in(played: Plan) -> None:
    gone = {one.person.name for one in played.opt_outs if one.purposes == EVERYTHING}
    later = [call for call in (*played.after, *played.steady) if call.person in gone]
    assert len(gone) == plan.OPT_OUTS
    assert {call.person for call in later} == gone
    assert any(not call.arguments.get("user_id") for call in later)


def test_opt_outs_in_a_quiet_moment_name_one_identifier_and_those_in_the_flow_all(played: Plan) -> None:
    for one in played.opt_outs:
        assert len(one.identifiers) == (1 + len(one.person.devices) if one.in_flow else 1)


def test_whoever_is_to_be_followed_by_links_is_linked_before(played: Plan) -> None:
    linked = {call.arguments.get("anonymous_id") for call in played.before if call.arguments.get("user_id")}
    assert all(linked.issuperset(one.person.devices) for one in played.opt_outs)


def test_deliveries_are_repeated_and_out_of_order(played: Plan) -> None:
    calls = list(played.deliveries())
    repeats = len(calls) - len({call.id for call in calls})
    assert 800 < repeats < 1300
    times = [call.at for call in played.before if call.at]
    assert sum(later < earlier for earlier, later in zip(times, times[1:], strict=False)) > 500


def test_probes_are_people_who_must_enter_by_them(played: Plan, books: Ledger) -> None:
    without = ledger.of(Plan(**{name: getattr(played, name) for name in Plan.__slots__} | {"probes": ()}))
    probed = {call.person for call in played.probes}
    assert len(probed) == plan.PROBES
    assert books.members["browsed-not-bought"] - without.members["browsed-not-bought"] == probed


def test_the_ledger_counts_every_call_of_those_who_stay_once(played: Plan, books: Ledger) -> None:
    staying = {name for name, book in books.books.items() if book.denied != EVERYTHING}
    once = {call.id: call for call in played.deliveries() if call.person in staying and call.activity}
    assert sum(sum(books.books[name].counts.values()) for name in staying) == len(once)
    assert books.deliveries == sum(books.delivered.values()) == len(list(played.deliveries()))


def test_the_ledger_keeps_of_those_who_leave_only_what_came_before(played: Plan, books: Ledger) -> None:
    before: Counter[str | None] = Counter()
    for call in {call.id: call for call in played.before}.values():
        before[call.person] += bool(call.activity)
    for one in played.opt_outs:
        if one.purposes == EVERYTHING:
            assert sum(books.books[one.person.name].counts.values()) == before[one.person.name]
            assert books.books[one.person.name].exact is not one.in_flow


def test_the_ledger_keeps_the_latest_address(played: Plan, books: Ledger) -> None:
    moved = [
        person for person in played.people if person.moved and books.books[person.name].denied != EVERYTHING
    ]
    assert len(moved) > 50
    for person in moved:
        assert person.moved
        assert books.books[person.name].traits == person.traits | person.moved[1]


def test_members_allow_the_purpose_and_every_segment_has_some(books: Ledger) -> None:
    denied = {name: book.denied for name, book in books.books.items()}
    for key, members in books.members.items():
        assert members, key
        assert not any(denied[name] == EVERYTHING for name in members)
    assert not any("marketing" in denied[name] for name in books.members["seniors"])
    assert any("marketing" in denied[name] for name in books.members["frequent-buyers"])


def test_buyers_of_this_week_are_seen_to_look_first_and_to_buy_later(played: Plan) -> None:
    week = NOW - timedelta(days=6, hours=20)
    bought = {
        c.person for c in (*played.after, *played.steady) if c.activity == ORDERED and c.at and c.at > week
    }
    looked = {c.person for c in played.before if c.activity == "Product Viewed" and c.at and c.at > week}
    assert len(looked & bought) > 10


def test_purchases_are_read_as_cdnow_wrote_them() -> None:
    text = " 00004 0001 19970101  2   29.33\r\n 00021 0002 19970118  1   14.96\r\n"
    assert make_data.purchases(text) == [
        ("0001", "1997-01-01", "2", "29.33"),
        ("0002", "1997-01-18", "1", "14.96"),
    ]


def test_people_are_the_complete_ones_by_record_number_without_the_social_security_number() -> None:
    header = (
        "rec_id, given_name, surname, street_number, address_1, address_2, "
        "suburb, postcode, state, date_of_birth, soc_sec_id"
    )
    rows = [
        "rec-9-org, ann, lee, 1, a street, , perth, 6000, wa, 19700131, 1111111",
        "rec-2-org, bob, ray, 2, b street, , perth, 6000, wa, 19700229, 2222222",
        "rec-3-org, , ray, 2, b street, , perth, 6000, wa, 19700228, 3333333",
        "rec-4-org, old, ray, 2, b street, , perth, 6000, wa, 19120228, 4444444",
        "rec-5-org, eve, kay, 5, e street, , perth, 6000, wa, 19700228, 5555555",
    ]
    assert make_data.people("\n".join([header, *rows]), 2) == [
        ("eve", "kay", "5", "e street", "perth", "6000", "wa", "1970-02-28"),
        ("ann", "lee", "1", "a street", "perth", "6000", "wa", "1970-01-31"),
    ]


def test_the_committed_people_are_as_the_origin_says() -> None:
    lines = (make_data.DATA / "people.csv").read_text().splitlines()
    assert lines[0] == ",".join(make_data.PEOPLE)
    assert len(lines) == 1 + 2357
    assert all(date.fromisoformat(line.rsplit(",", 1)[1]).year >= make_data.BORN_SINCE for line in lines[1:])
