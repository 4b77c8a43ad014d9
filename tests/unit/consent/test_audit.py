"""The chain of the audit log: nothing is altered, moved, left out or added unnoticed."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.consent.domain.audit import START, End, Exposure, Row, append, broken, read_act
from services.kernel.events import AuditAct

BEGINNING = End(0, START)
IDS = st.lists(st.binary(min_size=16, max_size=16), max_size=3)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ACTS = st.builds(
    AuditAct,
    at=st.integers(0, 2**60),
    key_id=st.none() | TEXT,
    actor=TEXT,
    why=st.none() | TEXT,
    service=TEXT,
    action=TEXT,
    target=TEXT,
    profiles=IDS,
    identifiers=IDS,
    people=st.integers(0, 10),
    outcome=st.sampled_from(["allowed", "refused"]),
)
LOGS = st.lists(ACTS, min_size=1, max_size=8)


def chained(acts: list[AuditAct]) -> tuple[list[Row], End]:
    """The acts as the log keeps them, from two partitions."""
    rows, end = [], BEGINNING
    for number, act in enumerate(acts):
        row, end = append(end, number % 2, number // 2, act)
        rows.append(row)
    return rows, end


def faults(rows: list[Row]) -> list[str]:
    return [found for found in broken(rows, BEGINNING) if isinstance(found, str)]


@given(LOGS)
def test_a_log_as_it_was_written_is_sound_and_reads_the_same(acts: list[AuditAct]) -> None:
    rows, end = chained(acts)
    assert list(broken(rows, BEGINNING))[-1] == end
    for row, act in zip(rows, acts, strict=True):
        shown = read_act(row)
        assert (shown.at, shown.actor, shown.why, shown.people) == (act.at, act.actor, act.why, act.people)
        assert [bytes.fromhex(id) for id in shown.profiles] == act.profiles


@given(LOGS, st.data())
def test_any_altered_row_is_named(acts: list[AuditAct], data: st.DataObject) -> None:
    rows, _ = chained(acts)
    index = data.draw(st.integers(0, len(rows) - 1))
    row = rows[index]
    other = msgspec.json.decode(row.act) | {"actor": data.draw(TEXT)}
    altered = data.draw(
        st.sampled_from(
            [
                replace(row, act=msgspec.json.encode(other).decode()),
                replace(row, act=row.act + " "),
                replace(row, at=row.at + 1),
                replace(row, partition=row.partition + 1),
                replace(row, offset=row.offset + 1),
                replace(row, hash=bytes(32)),
            ]
        ).filter(lambda altered: altered != row)
    )
    rows[index] = altered
    assert faults(rows) == [f"position {row.position}: altered or moved"]


@given(st.lists(ACTS, min_size=2, max_size=8), ACTS, st.data())
def test_a_row_forged_with_a_hash_of_its_own_breaks_the_next(
    acts: list[AuditAct], other: AuditAct, data: st.DataObject
) -> None:
    """Whoever changes one row has to change all that follow."""
    rows, _ = chained(acts)
    index = data.draw(st.integers(0, len(rows) - 2))
    before = BEGINNING if index == 0 else End(rows[index - 1].position, rows[index - 1].hash)
    forged, _ = append(before, rows[index].partition, rows[index].offset, other)
    assert list(broken([forged], before)) == [End(forged.position, forged.hash)]
    expected = [] if forged == rows[index] else [f"position {rows[index + 1].position}: altered or moved"]
    rows[index] = forged
    assert faults(rows) == expected


@given(st.lists(ACTS, min_size=2, max_size=8), st.data())
def test_any_missing_row_is_named(acts: list[AuditAct], data: st.DataObject) -> None:
    """The last one is found by the stored end of the chain: see tests/integration/test_audit.py."""
    rows, _ = chained(acts)
    del rows[data.draw(st.integers(0, len(rows) - 2))]
    assert len(faults(rows)) == 1
    assert "missing" in faults(rows)[0]


@given(st.lists(ACTS, min_size=2, max_size=8), st.data())
def test_any_two_rows_that_changed_places_are_named(acts: list[AuditAct], data: st.DataObject) -> None:
    rows, _ = chained(acts)
    first = data.draw(st.integers(0, len(rows) - 2))
    second = data.draw(st.integers(first + 1, len(rows) - 1))
    one, other = rows[first], rows[second]
    rows[first] = replace(other, position=one.position)
    rows[second] = replace(one, position=other.position)
    assert faults(rows) == [f"position {one.position}: altered or moved"]


@given(LOGS, ACTS)
def test_a_row_put_in_is_named(acts: list[AuditAct], extra: AuditAct) -> None:
    rows, _ = chained(acts)
    forged, _ = append(BEGINNING, 3, 0, extra)
    assert faults([forged, *rows]) == ["position 2: the row is missing"]


def test_an_exposure_counts_each_person_once_and_lists_by_their_length() -> None:
    def act(at: int, profiles: list[bytes], identifiers: list[bytes], people: int) -> AuditAct:
        return AuditAct(at, "k", "n", None, "profile", "read", "", profiles, identifiers, people, "allowed")

    ada, bob = b"a" * 16, b"b" * 16
    exposure = Exposure()
    rows, _ = chained(
        [
            act(5, [ada], [bob], 1),
            act(3, [ada], [], 1),
            act(9, [], [bob], 1),
            act(4, [], [], 10),
            act(6, [], [ada], 0),
        ]
    )
    for row in rows:
        exposure.add(read_act(row))
    assert (exposure.acts, exposure.people, exposure.first, exposure.last) == (5, 12, 3, 9)
