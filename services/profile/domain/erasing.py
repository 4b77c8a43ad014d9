"""What is left of profiles once facets are erased: what the other events would have made without theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from services.kernel.identifier import USER_ID, Identifier
from services.profile.domain.facet import Claim, Facet
from services.profile.domain.forest import Forest, Node


class Sighting(NamedTuple):
    """Evidence on record: by that event a source first showed the child to be the parent's person."""

    child: bytes
    parent: bytes
    source: str
    message_id: str
    at: int

    @property
    def claim(self) -> Claim:
        return self.at, self.message_id, self.source, self.parent


def family(nodes: Mapping[bytes, Node], named: Iterable[bytes]) -> set[bytes]:
    """The facets named, and all others of profiles whose root is among them: they can't be without it."""
    found = set(named)
    for id in list(found):
        if id in nodes:
            found |= nodes[id].members
    return found


def needed(nodes: Mapping[bytes, Node], erased: Set[bytes], evidence: Iterable[Sighting]) -> set[bytes]:
    """Facets to know beside the erased: those whose events show them, and the roots of these."""
    wanted = set()
    for sighting in evidence:
        if sighting.parent not in erased:
            wanted.add(sighting.parent)
            if sighting.parent in nodes:
                wanted.add(nodes[sighting.parent].root)
    return wanted


def without(
    nodes: Mapping[bytes, Node], erased: Set[bytes], evidence: Iterable[Sighting], loaded: set[bytes]
) -> Forest:
    """The forest of what is left. An erased identifier that somebody else's events show too is theirs then,
    as a bare identifier; of the others no trace is left.

    ``evidence``: of all erased children. Nodes of erased facets count as not stored: their rows go first.
    """
    forest = Forest((node for node in nodes.values() if node.id not in erased), loaded)
    best: dict[bytes, Claim] = {}
    for sighting in evidence:
        if sighting.parent not in erased and sighting.child in nodes:
            best[sighting.child] = min(best.get(sighting.child, sighting.claim), sighting.claim)
    for id, claim in sorted(best.items()):
        before = nodes[id].facet
        root = forest.nodes[nodes[claim[3]].root]
        facet = Facet.new(Identifier(before.kind, before.value))
        facet.claim = None if before.kind == USER_ID else claim  # user_ids are joined, not claimed
        forest.nodes[id] = Node(id, root.id, set(), facet, stored=False)
        root.members.add(id)
        forest.changed.update((id, root.id))
        forest.dirty.add(root.id)
    return forest
