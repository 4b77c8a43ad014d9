"""What is left after an erasure is what the other events would have made alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.events import Event
from services.kernel.identifier import ANONYMOUS_ID, USER_ID
from services.profile.domain.erasing import Sighting, family, needed, without
from services.profile.domain.facet import unpack
from services.profile.domain.forest import Forest, Node
from services.profile.domain.observation import observe
from tests.unit.profile.model import HASHER, event
from tests.unit.profile.test_order import applied, logs, published, read, stored


def erased_from(log: list[Event], named: set[bytes], came_back: list[Event] | None = None) -> Forest:
    """The forest of the log, stored, without these facets; what came after the cut is applied again."""
    full = applied([*log, *(came_back or [])])
    nodes = {node.id: node for node in read(stored(full))}
    evidence = [Sighting(*item[:5]) for item in full.evidence]
    erased = family(nodes, named)
    assert needed(nodes, erased, evidence) <= nodes.keys()
    forest = without(nodes, erased, [one for one in evidence if one.child in erased], set(nodes))
    for back in came_back or []:
        if observe(back, HASHER).facet in erased:
            forest.apply(observe(back, HASHER))
    assert not forest.missing
    return Forest(
        Node(n.id, n.root, n.members, unpack(n.facet.pack()), stored=True) for n in forest.nodes.values()
    )


def facet_of(one: Event) -> bytes:
    return observe(one, HASHER).facet


@settings(max_examples=150, deadline=None)
@given(logs(), st.data())
def test_whole_people_and_single_visitors_leave_what_others_told(
    log: list[Event], data: st.DataObject
) -> None:
    nodes = applied(log).nodes
    roots = data.draw(st.sets(st.sampled_from(sorted({node.root for node in nodes.values()}))))
    visitors = sorted(node.id for node in nodes.values() if node.facet.kind == ANONYMOUS_ID)
    named = {node.id for node in nodes.values() if node.root in roots}
    named |= data.draw(st.sets(st.sampled_from(visitors))) if visitors else set()
    assert published(erased_from(log, named)) == published(
        applied([e for e in log if facet_of(e) not in named])
    )


def test_a_device_that_two_people_share_stays_the_others() -> None:
    ana = event(1, user_id="ana", anonymous_id="kiosk")
    ben = event(2, user_id="ben", anonymous_id="kiosk")
    browsed = event(3, anonymous_id="kiosk")
    person = {node.id for node in applied([ana, ben, browsed]).nodes.values()} - {facet_of(ben)}
    left = erased_from([ana, ben, browsed], person)
    assert published(left) == published(applied([ben]))


def test_a_user_id_that_anothers_alias_names_stays_as_that_name() -> None:
    one, other = sorted(["ana", "ben"], key=lambda user: HASHER(USER_ID, user))
    alias = event(1, type="alias", user_id=one, previous_id=other)
    theirs = event(2, user_id=other)
    left = erased_from([alias, theirs], {HASHER(USER_ID, other)})
    assert published(left) == published(applied([alias]))


def test_who_comes_back_is_somebody_new() -> None:
    before = [event(1, user_id="ana", anonymous_id="a"), event(2, anonymous_id="a", name="Old")]
    after = [event(3, user_id="ana", anonymous_id="b", name="New")]
    person = set(applied(before).nodes)
    assert published(erased_from(before, person, after)) == published(applied(after))
