"""The checks of a run: what must hold, and when it does not, what was found and what to do. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from deploy.demo.account import Account, SegmentFigures, turnover
from deploy.demo.ledger import Book
from deploy.demo.plan import EVERYTHING
from services.kernel.events import GoldenRecord

SHOWN = 3
"""So many examples of what went wrong are named."""
LOGS = ".venv/bin/candor status, and the logs in .candor/logs"
DEAD = ".venv/bin/candor deadletters list"
VERIFY = ".venv/bin/candor verify, which recomputes profiles and members from the events kept"


@dataclass(frozen=True, slots=True)
class Check:
    """``found`` is empty when the check held; else it says what was found, and ``advice`` what to do."""

    name: str
    found: str = ""
    advice: str = ""

    @property
    def held(self) -> bool:
        return not self.found


def of(account: Account) -> list[Check]:
    """All checks of the run, segment by segment at the end."""
    return [check(account) for check in _CHECKS] + [
        _segment(account, figures) for figures in account.segments()
    ]


def _sdk(account: Account) -> Check:
    return Check("the SDK reported no error", _some(account.measured.sdk_errors), LOGS)


def _durable(account: Account) -> Check:
    """What was dropped may be truncated before it was seen: then the topic's offsets must account for it."""
    missing = Counter(account.ledger.delivered) - account.delivered
    strangers = account.delivered.keys() - account.ledger.delivered.keys()
    found = [f"{id} was never sent" for id in strangers]
    if missing.total() > account.unseen or not missing.keys() <= account.ledger.may_be_dropped:
        found += [f"{id} is missing" for id in missing]
    return Check("every event sent is in Kafka, by message id", _some(found), LOGS)


def _adds_up(account: Account) -> Check:
    counts = account.measured.counts
    kept = account.measured.written + len(account.measured.refused)
    parts = counts.applied + counts.repeats + counts.dropped + counts.bad
    found = []
    if counts.accepted != kept:
        found.append(f"accepted {counts.accepted:,}, in Kafka {kept:,}")
    if counts.accepted != parts:
        found.append(f"accepted {counts.accepted:,}, but applied + repeats + dropped + bad = {parts:,}")
    return Check("accepted = applied + repeats + dropped + bad", _some(found), LOGS)


def _opted_out(account: Account) -> Check:
    through = account.came_through
    found = [f"{seen.id} passed the gate" for seen in through]
    fewest, most = account.ledger.tried, account.ledger.tried + account.ledger.waiting + account.sent_again
    if not fewest <= account.measured.counts.dropped <= most:
        found.append(f"dropped {account.measured.counts.dropped:,}, expected {fewest:,} to {most:,}")
    return Check("nothing begun after an opt-out came through", _some(found), LOGS)


def _refused(account: Account) -> Check:
    refused = set(account.measured.refused)
    found = [f"{id} was not refused" for id in account.ledger.refused - refused]
    found += [f"{id} is a dead letter" for id in refused - account.ledger.refused]
    if account.measured.counts.bad != len(account.measured.refused):
        found.append(f"{account.measured.counts.bad} counted, {len(account.measured.refused)} dead letters")
    return Check("bad events, and no others, are dead letters", _some(found), DEAD)


def _masked(account: Account) -> Check:
    stored = {topic: number for topic, number in account.measured.card_numbers.items() if number}
    found = [f"{number} in {topic}" for topic, number in stored.items()]
    fewest, most = account.ledger.cards, account.ledger.cards + account.sent_again
    if not fewest <= account.measured.counts.masked <= most:
        found.append(f"masked {account.measured.counts.masked}, sent {fewest}")
    return Check("every card number was masked, none is stored", _some(found), LOGS)


def _people(account: Account) -> Check:
    """Of those who left in the flow, the event that links their devices may be among the dropped ones."""
    found = [
        f"{name}: {len(account.golden.get(name, []))} profiles"
        for name, book in account.ledger.books.items()
        if book.exact and len(account.golden.get(name, [])) != 1
    ]
    found += [
        f"profile {record.profile_id} is of nobody, or of several" for record in account.golden.get("", [])
    ]
    return Check("every person is one profile", _some(found), VERIFY)


def _once(account: Account) -> Check:
    found = [
        f"{name}: {difference}"
        for name, book in account.ledger.books.items()
        for record in account.golden.get(name, [])
        for difference in (_differs(book, record) if book.exact else _exceeds(book, record))
    ]
    return Check(
        "every event counted once, every trait is the latest, turnover is right to the cent",
        _some(found),
        VERIFY,
    )


def _absent(account: Account) -> Check:
    gone = {name for name, book in account.ledger.books.items() if book.denied == EVERYTHING}
    profiles = {record.profile_id: name for name in gone for record in account.golden.get(name, [])}
    found = [
        f"{profiles[profile]} is in {key}"
        for key, membership in account.measured.memberships.items()
        for profile in membership.after & profiles.keys()
    ]
    return Check("who opted out is in no segment", _some(found), VERIFY)


def _subscriber(account: Account) -> Check:
    """What was told, cut down to one partition of the topic, is that partition, in its order."""
    told = defaultdict(list)
    home = {
        (transition.segment_key, transition.profile_id, transition.sequence): number
        for number, partition in enumerate(account.measured.transitions)
        for transition in partition
    }
    for one in account.measured.told:
        told[home.get(one.key, -1)].append(one.key)
    found = [f"{key} is in no topic" for key in told.pop(-1, [])]
    for number, partition in enumerate(account.measured.transitions):
        wanted = [(one.segment_key, one.profile_id, one.sequence) for one in partition]
        if told[number] != wanted:
            found.append(f"partition {number}: {len(told[number])} of {len(wanted)}, or out of order")
    return Check("a live subscriber received every transition, in order, once", _some(found), LOGS)


def _alternates(account: Account) -> Check:
    last: dict[tuple[str, str], tuple[int, bool]] = {}
    found = []
    for one in account.transitions:
        key = (one.segment_key, one.profile_id)
        start = (
            (0, False) if one.profile_id in account.measured.profiles else (one.sequence - 1, not one.member)
        )
        sequence, member = last.get(key, start)
        if one.sequence != sequence + 1 or one.member == member:
            found.append(f"{one.segment_key} {one.profile_id}: {one.sequence} after {sequence}")
        last[key] = (one.sequence, one.member)
    return Check("entered and left alternate, numbered without a gap", _some(found), VERIFY)


def _fresh(account: Account) -> Check:
    fresh = account.freshness
    arrived, asked = (fresh.measured, fresh.asked) if fresh else (0, len(account.measured.answered))
    found = [] if arrived == asked and asked else [f"{arrived} of {asked} arrived"]
    return Check("every measured event reached the subscriber", _some(found), LOGS)


_CHECKS: tuple[Callable[[Account], Check], ...] = (
    _sdk,
    _durable,
    _adds_up,
    _opted_out,
    _refused,
    _masked,
    _people,
    _once,
    _absent,
    _subscriber,
    _alternates,
    _fresh,
)


def _segment(account: Account, figures: SegmentFigures) -> Check:
    membership = account.measured.memberships[figures.key]
    owner = {record.profile_id: name for name, records in account.golden.items() for record in records}
    members = {owner[profile] for profile in membership.after if profile in owner}
    wanted = account.ledger.members[figures.key]
    found = [f"{name} is no member" for name in wanted - members]
    found += [f"{name} is a member" for name in members - wanted]
    if figures.before + figures.entered - figures.left != figures.members:
        found.append(f"{figures.before} + {figures.entered} - {figures.left} is not {figures.members}")
    return Check(
        f"{figures.key}: members are those who must be, and entered - left adds up", _some(found), VERIFY
    )


def _some(found: Iterable[str]) -> str:
    found = list(found)
    more = f"; {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def _differs(book: Book, record: GoldenRecord) -> list[str]:
    found = _differences(book.counts, {name: seen.count for name, seen in record.activity.items()})
    found += _differences(book.traits, msgspec.json.decode(record.traits))
    if turnover(record) != book.turnover:
        found.append(f"turnover {turnover(record)}, not {book.turnover}")
    if {*record.user_ids, *record.anonymous_ids} != book.identifiers:
        found.append("other identifiers than were sent")
    return found


def _exceeds(book: Book, record: GoldenRecord) -> list[str]:
    found = [
        f"{name}: {seen.count}, at most {book.counts.get(name, 0)} were sent"
        for name, seen in record.activity.items()
        if seen.count > book.counts.get(name, 0)
    ]
    return found + (["turnover too high"] if turnover(record) > book.turnover else [])


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}: {found.get(key)!r}, not {expected.get(key)!r}"
        for key in expected.keys() | found.keys()
        if found.get(key) != expected.get(key)
    ]
