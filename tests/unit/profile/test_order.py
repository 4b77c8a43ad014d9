"""Promise 5: any permutation or split of the same events gives the byte-identical golden record."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel import codec
from services.kernel.events import Event
from services.profile.domain.facet import HOUR, unpack
from services.profile.domain.forest import Forest, Node, pack_members, unpack_members
from services.profile.domain.golden import fold, place, profiles
from services.profile.domain.observation import observe
from tests.unit.profile.model import HASHER, event, golden

Rows = dict[bytes, tuple[bytes, bytes, bytes, bytes]]

USERS = ["u1", "u2", "u3", "u4"]
ANONYMOUS = ["a1", "a2", "a3", "u2"]
NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12),
    st.decimals(-1000, 1000, places=4).map(float),
    st.floats(-1e15, 1e15).filter(lambda x: x == 0 or abs(x) > 1e-9),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Some events of a few people who share devices, alias each other and arrive from two sources."""
    events = []
    for number in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(["track", "identify", "page", "alias", "track", "group"]))
        user = draw(st.sampled_from([None, *USERS]))
        anonymous = draw(st.sampled_from([None, *ANONYMOUS] if user else ANONYMOUS))
        fields: dict[str, Any] = {
            "type": kind,
            "user_id": user,
            "anonymous_id": anonymous,
            "source": draw(st.sampled_from(["web", "app"])),
            "timestamp": 1_700_000_000_000_000 + draw(st.integers(0, 60 * 24)) * HOUR,
            "place": draw(st.sampled_from([None, "DE", "US-CA"])),
        }
        fields["place_declared"] = fields["place"] is not None and draw(st.booleans())
        if kind == "track":
            fields["name"] = draw(st.sampled_from(["Viewed", "Ordered"]))
            names = st.sampled_from(["revenue", "total", "value", "other"])
            fields["properties"] = draw(st.dictionaries(names, NUMBERS, max_size=3))
        if kind == "identify":
            names = st.sampled_from(["city", "plan", "name"])
            values = st.sampled_from([None, "Rome", 1, True, {"b": [1.5, None], "a": "ü"}])
            fields["traits"] = draw(st.dictionaries(names, values, max_size=3))
        if kind == "alias" and user:
            fields["previous_id"] = draw(st.sampled_from([*USERS, *ANONYMOUS]))
        events.append(event(number, **fields))
    return events


def published(forest: Forest) -> dict[str, bytes]:
    """The golden record's bytes by profile, without what promise 5 leaves out, and its place."""
    result = {}
    for root, members in profiles(forest.nodes.values()).items():
        record = fold(root, members, ("analytics",), 1)
        record = msgspec.structs.replace(record, received_at=0)
        result[record.profile_id] = codec.encode(record) + (place(members) or "").encode()
    return result


def applied(log: list[Event]) -> Forest:
    forest = Forest()
    for e in log:
        forest.apply(observe(e, HASHER))
    return forest


def stored(forest: Forest) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """The forest as its rows in Postgres would be."""
    return [
        (node.id, node.root, pack_members(node.members), node.facet.pack()) for node in forest.nodes.values()
    ]


def read(rows: list[tuple[bytes, bytes, bytes, bytes]]) -> list[Node]:
    return [
        Node(id, root, unpack_members(members), unpack(state), stored=True)
        for id, root, members, state in rows
    ]


def differing(before: Rows, after: Rows) -> set[bytes]:
    """Profiles, also former ones, that are not published as they are."""
    old, new = (published(Forest(read(list(rows.values())))) for rows in (before, after))
    return {bytes.fromhex(id) for id in old.keys() | new.keys() if old.get(id) != new.get(id)}


@settings(max_examples=100, deadline=None)
@given(logs())
def test_the_fold_is_that_of_the_naive_model(log: list[Event]) -> None:
    forest = applied(log)
    expected = golden(log)
    found = {}
    for root, members in profiles(forest.nodes.values()).items():
        record = msgspec.to_builtins(fold(root, members, (), 1), builtin_types=(bytes,))
        record["traits"] = json.loads(record["traits"])
        for activity in record["activity"].values():
            activity["sums"] = {name: Fraction(total) for name, total in activity["sums"].items()}
        record["place"] = place(members)
        profile_id = record.pop("profile_id")
        found[profile_id] = {
            name: value
            for name, value in record.items()
            if name not in ("version", "purposes", "received_at")
        }
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(logs().flatmap(lambda log: st.tuples(st.just(log), st.permutations(log))))
def test_any_permutation_gives_the_same_bytes(case: tuple[list[Event], list[Event]]) -> None:
    log, shuffled = case
    assert published(applied(log)) == published(applied(shuffled))


@settings(max_examples=60, deadline=None)
@given(logs().flatmap(lambda log: st.tuples(st.permutations(log), st.sets(st.integers(0, len(log))))))
def test_any_split_into_batches_gives_the_same_bytes(case: tuple[list[Event], set[int]]) -> None:
    """Each batch loads what it asks for, then what turned out to be missing, like the transaction."""
    log, cuts = case
    rows: Rows = {}
    ends = [*sorted(cuts), len(log)]
    for start, end in zip([0, *ends], ends, strict=False):
        batch = [observe(e, HASHER) for e in log[start:end]]
        loaded = {seen.facet for seen in batch}
        while True:
            forest = Forest(read([rows[id] for id in loaded if id in rows]), loaded)
            for seen in batch:
                forest.apply(seen)
            if not forest.missing:
                break
            assert not forest.missing <= loaded, "asks again for what it has"
            loaded |= forest.missing
        before = dict(rows)
        rows |= {row[0]: row for row in stored(forest) if row[0] in forest.changed}
        assert all(before.get(row[0]) == row for row in stored(forest) if row[0] not in forest.changed)
        assert differing(before, rows) <= set(forest.marks())
    assert published(Forest(read(list(rows.values())))) == published(applied(log))
