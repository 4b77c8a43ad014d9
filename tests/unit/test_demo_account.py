"""The demo's account: of a perfect run every check holds; each check fails by what it is there for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from deploy.demo import checks, ledger, plan
from deploy.demo.account import Account
from deploy.demo.calls import Call
from deploy.demo.ledger import Book, Ledger
from deploy.demo.measured import Counts, Delivery, Measured, Membership, Told
from deploy.demo.plan import EVERYTHING, Plan
from deploy.demo.segments import PROBED, SEGMENTS
from services.kernel.events import Activity, GoldenRecord, Transition

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
OPTED_OUT_AT = 1000
OLDER = "0" * 32
"""A profile of an earlier run."""


@dataclass(frozen=True)
class Run:
    plan: Plan
    ledger: Ledger
    measured: Measured


@pytest.fixture(scope="module")
def perfect() -> Run:
    play = _small(plan.make(NOW, "run1"))
    books = ledger.of(play)
    return Run(play, books, _measured(play, books))


def _small(play: Plan) -> Plan:
    """Every eighth person of the plan, with all that is theirs."""
    people = play.people[::8]
    names = {None, *(person.name for person in people)}
    return Plan(
        run=play.run,
        now=play.now,
        people=people,
        before=tuple(call for call in play.before if call.person in names),
        opt_outs=tuple(one for one in play.opt_outs if one.person.name in names),
        after=tuple(call for call in play.after if call.person in names),
        steady=tuple(call for call in play.steady if call.person in names),
        probes=tuple(call for call in play.probes if call.person in names),
    )


def _measured(play: Plan, books: Ledger) -> Measured:
    """What a flawless system shows: nothing was under way when people opted out in the flow."""
    gone = {one.person.name for one in play.opt_outs if one.purposes == EVERYTHING}
    before = [call for call in play.before if call.person]
    after = [call for act in (play.after, play.steady, play.probes) for call in act if call.person]
    passed = before + [call for call in after if call.person not in gone]
    partitions = _transitions(play, books)
    return Measured(
        sdk_errors=[],
        acknowledged={one.person.name: OPTED_OUT_AT for one in play.opt_outs},
        counts=Counts(
            accepted=books.deliveries,
            applied=len({call.id for call in passed}),
            repeats=len(passed) - len({call.id for call in passed}),
            dropped=books.tried,
            bad=len(books.refused),
            masked=books.cards,
        ),
        written=len(before) + len(after),
        collected=[
            _delivery(call, 500 if n < len(before) else 1500) for n, call in enumerate(before + after)
        ],
        permitted=[_delivery(call, 500 if n < len(before) else 1500) for n, call in enumerate(passed)],
        refused=list(books.refused),
        card_numbers={"events.permitted": 0},
        profiles={_profile_id(name): _golden(book) for name, book in books.books.items()},
        transitions=partitions,
        told=[told for partition in partitions for told in map(_told, partition)],
        memberships={
            key: Membership(frozenset({OLDER}), frozenset({OLDER, *(_profile_id(name) for name in members)}))
            for key, members in books.members.items()
        },
        answered={str(call.arguments["user_id"]): 9.99 for call in play.probes},
        speed=3000.0,
        steady=180.0,
    )


def _delivery(call: Call, started: int) -> Delivery:
    return Delivery(call.id, call.arguments.get("user_id"), call.arguments.get("anonymous_id"), started)


def _profile_id(name: str) -> str:
    return name.encode().hex().rjust(32, "1")


def _golden(book: Book) -> GoldenRecord:
    def activity(name: str, count: int) -> Activity:
        sums = {"total": str(book.turnover)} if name == "Order Completed" else {}
        return Activity(count, 0, 0, [], [], [], [], sums)

    return GoldenRecord(
        profile_id=_profile_id(book.person.name),
        version=1,
        user_ids=[book.person.user_id] if book.person.user_id else [],
        anonymous_ids=list(book.person.devices),
        purposes=[],
        traits=msgspec.json.encode(book.traits),
        activity={name: activity(name, count) for name, count in book.counts.items()},
        first_seen_at=0,
        last_seen_at=0,
        received_at=0,
    )


def _transitions(play: Plan, books: Ledger) -> list[list[Transition]]:
    """Everybody who must be a member entered; those who opted out had entered as well and left."""
    partitions: list[list[Transition]] = [[], []]
    leaving = [one.person.name for one in play.opt_outs if one.purposes == EVERYTHING]
    for number, segment in enumerate(SEGMENTS):
        for name in sorted(books.members[segment.key]) + leaving:
            partition = partitions[(number + len(name)) % 2]
            partition.append(_transition(books.books[name], segment.key, 1))
            if name in leaving:
                partition.append(_transition(books.books[name], segment.key, 2))
    return partitions


def _transition(book: Book, segment: str, sequence: int) -> Transition:
    member = sequence % 2 == 1
    return Transition(
        segment_key=segment,
        segment_version=1,
        profile_id=_profile_id(book.person.name),
        user_id=book.person.user_id,
        anonymous_ids=[],
        member=member,
        sequence=sequence,
        reason="rule" if member else "consent",
        cause=None,
        occurred_at=0,
        evaluated_at=0,
    )


def _told(one: Transition) -> Told:
    return Told(one.segment_key, one.profile_id, one.user_id, one.member, one.sequence, 10.0)


def failed(run: Run, **changes: object) -> set[str]:
    measured = replace(run.measured, **changes)  # type: ignore[arg-type]
    return {check.name for check in checks.of(Account(run.ledger, measured)) if not check.held}


def test_of_a_perfect_run_every_check_holds(perfect: Run) -> None:
    found = checks.of(Account(perfect.ledger, perfect.measured))
    assert [check for check in found if not check.held] == []
    assert len(found) == 12 + len(SEGMENTS)
    assert len({check.name for check in found}) == len(found)


def test_the_figures_of_a_perfect_run(perfect: Run) -> None:
    account = Account(perfect.ledger, perfect.measured)
    assert account.people == len(perfect.ledger.books)
    assert account.identifiers == sum(len(book.identifiers) for book in perfect.ledger.books.values())
    assert account.came_through == []
    assert account.turnover == sum((book.turnover for book in perfect.ledger.books.values()), Decimal(0))
    fresh = account.freshness
    assert fresh and fresh.measured == fresh.asked == len(perfect.plan.probes) > 20
    assert fresh.p50 == pytest.approx(10) and fresh.p99 == pytest.approx(10)
    gone = sum(one.purposes == EVERYTHING for one in perfect.plan.opt_outs)
    assert gone > 20
    for figures in account.segments():
        assert figures.left_by_consent == figures.left == gone
        assert figures.before + figures.entered - figures.left == figures.members


def test_the_sdks_own_retries_are_told_apart_from_the_plan(perfect: Run) -> None:
    measured = perfect.measured
    again = replace(
        measured,
        written=measured.written + 1,
        collected=[*measured.collected, measured.collected[0]],
        counts=replace(
            measured.counts, accepted=measured.counts.accepted + 1, repeats=measured.counts.repeats + 1
        ),
    )
    account = Account(perfect.ledger, again)
    assert account.sent_again == 1
    assert all(check.held for check in checks.of(account))


SDK = "the SDK reported no error"
DURABLE = "every event sent is in Kafka, by message id"
ADDS_UP = "accepted = applied + repeats + dropped + bad"
OPTED_OUT = "nothing begun after an opt-out came through"
REFUSED = "bad events, and no others, are dead letters"
MASKED = "every card number was masked, none is stored"
PEOPLE = "every person is one profile"
ONCE = "every event counted once, every trait is the latest, turnover is right to the cent"
ABSENT = "who opted out is in no segment"
SUBSCRIBER = "a live subscriber received every transition, in order, once"
ALTERNATES = "entered and left alternate, numbered without a gap"
FRESH = "every measured event reached the subscriber"


def test_an_error_of_the_sdk_is_seen(perfect: Run) -> None:
    assert failed(perfect, sdk_errors=["100 events: 500"]) == {SDK}


def _without(deliveries: Sequence[Delivery], id: str) -> list[Delivery]:
    return [seen for seen in deliveries if seen.id != id]


def test_a_lost_event_is_seen(perfect: Run) -> None:
    measured, id = perfect.measured, perfect.measured.collected[0].id
    lost = _without(measured.collected, id), _without(measured.permitted, id)
    assert failed(perfect, collected=lost[0], permitted=lost[1]) == {DURABLE}
    assert failed(perfect, collected=lost[0], permitted=lost[1], written=measured.written - 1) == {
        DURABLE,
        ADDS_UP,
    }


def test_what_was_truncated_before_it_was_read_counts_by_its_offset(perfect: Run) -> None:
    measured = perfect.measured
    dropped = _dropped(perfect)
    unseen = _without(measured.collected, dropped)
    assert failed(perfect, collected=unseen) == set()
    assert failed(perfect, collected=unseen, written=measured.written - 1) == {DURABLE, ADDS_UP}
    passed = measured.permitted[0].id
    assert failed(perfect, collected=_without(measured.collected, passed)) == set()


def _dropped(run: Run) -> str:
    """A message that was delivered once, and dropped."""
    permitted = {seen.id for seen in run.measured.permitted}
    return min(id for id in run.ledger.may_be_dropped - permitted if run.ledger.delivered[id] == 1)


def test_an_event_nobody_sent_is_seen(perfect: Run) -> None:
    stranger = replace(perfect.measured.collected[0], id="run1-stranger")
    assert DURABLE in failed(perfect, collected=[*perfect.measured.collected, stranger])


@pytest.mark.parametrize("field", ["accepted", "applied", "repeats", "bad"])
def test_a_count_that_is_off_by_one_is_seen(perfect: Run, field: str) -> None:
    counts = perfect.measured.counts
    changed = replace(counts, **{field: getattr(counts, field) + 1})
    assert failed(perfect, counts=changed) == {ADDS_UP} | ({REFUSED} if field == "bad" else set())


def test_an_applied_event_too_many_and_a_dropped_one_too_few_are_seen(perfect: Run) -> None:
    counts = perfect.measured.counts
    changed = replace(counts, applied=counts.applied + 1, dropped=counts.dropped - 1)
    assert failed(perfect, counts=changed) == {OPTED_OUT}


@pytest.mark.parametrize("by", ["user_id", "anonymous_id"])
def test_an_event_that_came_through_after_an_opt_out_is_seen(perfect: Run, by: str) -> None:
    book = next(book for book in perfect.ledger.books.values() if book.denied == EVERYTHING)
    named = {"user_id": None, "anonymous_id": None, by: sorted(book.identifiers)[by == "anonymous_id"]}
    late = Delivery(_dropped(perfect), started=OPTED_OUT_AT + 1, **named)
    assert failed(perfect, permitted=[*perfect.measured.permitted, late]) == {OPTED_OUT}
    early = replace(late, started=OPTED_OUT_AT)
    assert failed(perfect, permitted=[*perfect.measured.permitted, early]) == set()


def test_who_only_left_marketing_may_go_on(perfect: Run) -> None:
    book = next(book for book in perfect.ledger.books.values() if book.denied == ("marketing",))
    late = Delivery(_dropped(perfect), book.person.user_id, None, OPTED_OUT_AT + 1)
    assert failed(perfect, permitted=[*perfect.measured.permitted, late]) == set()


def test_a_good_event_among_the_dead_letters_is_seen(perfect: Run) -> None:
    good = perfect.measured.collected[0].id
    counts = replace(perfect.measured.counts, bad=perfect.measured.counts.bad + 1)
    assert REFUSED in failed(perfect, refused=[*perfect.measured.refused, good], counts=counts)


def test_a_bad_event_that_was_let_in_is_seen(perfect: Run) -> None:
    counts = replace(perfect.measured.counts, bad=perfect.measured.counts.bad - 1)
    assert REFUSED in failed(perfect, refused=perfect.measured.refused[1:], counts=counts)


def test_a_stored_card_number_is_seen(perfect: Run) -> None:
    assert failed(perfect, card_numbers={"deadletters": 1}) == {MASKED}


def test_a_card_number_that_was_not_masked_is_seen(perfect: Run) -> None:
    counts = replace(perfect.measured.counts, masked=perfect.measured.counts.masked - 1)
    assert failed(perfect, counts=counts) == {MASKED}


def _first(run: Run, exact: bool = True) -> GoldenRecord:
    book = next(book for book in run.ledger.books.values() if book.exact is exact and book.counts)
    return run.measured.profiles[_profile_id(book.person.name)]


def changed(run: Run, record: GoldenRecord) -> dict[str, GoldenRecord]:
    return {**run.measured.profiles, record.profile_id: record}


def test_a_person_without_a_profile_is_seen(perfect: Run) -> None:
    profiles = dict(perfect.measured.profiles)
    del profiles[_first(perfect).profile_id]
    assert PEOPLE in failed(perfect, profiles=profiles)


@pytest.mark.parametrize("exact", [True, False])
def test_only_who_left_in_the_flow_may_have_no_profile_or_two(perfect: Run, exact: bool) -> None:
    record = _first(perfect, exact)
    none = dict(perfect.measured.profiles)
    del none[record.profile_id]
    assert (PEOPLE in failed(perfect, profiles=none)) is exact
    device = msgspec.structs.replace(record, profile_id="f" * 32, user_ids=[], activity={})
    two = changed(perfect, msgspec.structs.replace(record, anonymous_ids=[])) | {device.profile_id: device}
    assert (PEOPLE in failed(perfect, profiles=two)) is exact


def test_two_people_in_one_profile_are_seen(perfect: Run) -> None:
    one, other = list(perfect.measured.profiles.values())[:2]
    both = msgspec.structs.replace(one, user_ids=one.user_ids + other.user_ids)
    assert PEOPLE in failed(perfect, profiles=changed(perfect, both))


def _times(record: GoldenRecord, more: int) -> GoldenRecord:
    activity = dict(record.activity)
    activity["$page"] = msgspec.structs.replace(activity["$page"], count=activity["$page"].count + more)
    return msgspec.structs.replace(record, activity=activity)


@pytest.mark.parametrize("more", [-1, 1])
def test_an_event_counted_twice_or_not_at_all_is_seen(perfect: Run, more: int) -> None:
    assert failed(perfect, profiles=changed(perfect, _times(_first(perfect), more))) == {ONCE}


def test_who_left_in_the_flow_may_have_fewer_events_but_never_more(perfect: Run) -> None:
    record = _first(perfect, exact=False)
    assert failed(perfect, profiles=changed(perfect, _times(record, -1))) == set()
    assert failed(perfect, profiles=changed(perfect, _times(record, 1))) == {ONCE}


def test_an_older_trait_is_seen(perfect: Run) -> None:
    record = msgspec.structs.replace(_first(perfect), traits=b'{"address":{}}')
    assert failed(perfect, profiles=changed(perfect, record)) == {ONCE}


def test_a_cent_too_much_is_seen(perfect: Run) -> None:
    record = _first(perfect)
    orders = record.activity["Order Completed"]
    sums = {"total": str(Decimal(orders.sums["total"]) + Decimal("0.01"))}
    activity = record.activity | {"Order Completed": msgspec.structs.replace(orders, sums=sums)}
    assert failed(perfect, profiles=changed(perfect, msgspec.structs.replace(record, activity=activity))) == {
        ONCE
    }


def test_a_member_who_opted_out_is_seen(perfect: Run) -> None:
    book = next(book for book in perfect.ledger.books.values() if book.denied == EVERYTHING)
    inside = perfect.measured.memberships["seniors"]
    more = replace(inside, after=inside.after | {_profile_id(book.person.name)})
    names = failed(perfect, memberships={**perfect.measured.memberships, "seniors": more})
    assert names == {ABSENT, _segment("seniors")}


def _segment(key: str) -> str:
    return f"{key}: members are those who must be, and entered - left adds up"


@pytest.mark.parametrize("key", [segment.key for segment in SEGMENTS])
def test_a_member_exchanged_for_another_is_seen(perfect: Run, key: str) -> None:
    inside = perfect.measured.memberships[key]
    members = perfect.ledger.members[key]
    staying = {name for name, book in perfect.ledger.books.items() if not book.denied}
    wrong = _profile_id(min(staying - members))
    missing = _profile_id(min(members))
    exchanged = replace(inside, after=inside.after - {missing} | {wrong})
    assert failed(perfect, memberships={**perfect.measured.memberships, key: exchanged}) == {_segment(key)}


def test_an_exit_that_was_never_published_is_seen(perfect: Run) -> None:
    partitions = [list(partition) for partition in perfect.measured.transitions]
    lost = next(one for one in partitions[0] if not one.member)
    partitions[0].remove(lost)
    told = [one for one in perfect.measured.told if one.key != _told(lost).key]
    assert failed(perfect, transitions=partitions, told=told) == {_segment(lost.segment_key)}


def _swap_two_of_one_person(told: list[Told]) -> Iterator[Told]:
    at = next(n for n, one in enumerate(told) if not one.member)
    yield from (*told[: at - 1], told[at], told[at - 1], *told[at + 1 :])


def test_what_the_subscriber_missed_or_got_twice_or_out_of_order_is_seen(perfect: Run) -> None:
    told = list(perfect.measured.told)
    leaving = next(one for one in told if not one.member)
    assert failed(perfect, told=[one for one in told if one is not leaving]) == {SUBSCRIBER}
    assert failed(perfect, told=[*told, leaving]) == {SUBSCRIBER}
    assert failed(perfect, told=list(_swap_two_of_one_person(told))) == {SUBSCRIBER}
    assert failed(perfect, told=[*told, replace(leaving, sequence=9)]) == {SUBSCRIBER}


def test_a_gap_and_a_wrong_start_in_the_sequence_are_seen(perfect: Run) -> None:
    for wrong in ({"sequence": 3}, {"member": True}):
        partitions = [list(partition) for partition in perfect.measured.transitions]
        at = next(n for n, one in enumerate(partitions[0]) if not one.member)
        partitions[0][at] = msgspec.structs.replace(partitions[0][at], **wrong)
        told = [one for partition in partitions for one in map(_told, partition)]
        assert ALTERNATES in failed(perfect, transitions=partitions, told=told)


def test_a_probe_that_never_arrived_is_seen(perfect: Run) -> None:
    probed = next(one for one in perfect.measured.told if one.user_id in perfect.measured.answered)
    told = [
        one for one in perfect.measured.told if (one.user_id, one.segment_key) != (probed.user_id, PROBED)
    ]
    assert failed(perfect, told=told) == {SUBSCRIBER, FRESH}


def test_a_failed_check_says_what_was_found_and_what_to_do(perfect: Run) -> None:
    measured = replace(perfect.measured, collected=perfect.measured.collected[10:], permitted=[])
    (check,) = [check for check in checks.of(Account(perfect.ledger, measured)) if not check.held]
    assert perfect.measured.collected[0].id in check.found
    assert check.found.endswith("more")
    assert check.advice
