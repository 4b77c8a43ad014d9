"""Which facets are one profile: a forest that is a function of the set of events, whatever their order.

- user_ids joined by alias are one component. Its root is the first in a static order: those with events of
  their own before those only named as a previous id, then by hash.
- Any other identifier is the child of one user_id: that of its best evidence, the least claim. Its root is
  that parent's root. A child is nobody's parent, so there are no cycles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from services.kernel.identifier import HASH_SIZE, USER_ID, Identifier
from services.profile.domain.facet import Claim, Facet
from services.profile.domain.observation import Link, Observation


class Node:
    """A facet in the forest. ``members``: of a root, the profile's other facets. ``stored``: has a row."""

    __slots__ = ("facet", "id", "members", "root", "stored", "was_profile")

    def __init__(self, id: bytes, root: bytes, members: set[bytes], facet: Facet, *, stored: bool) -> None:
        self.id = id
        self.root = root
        self.members = members
        self.facet = facet
        self.stored = stored
        self.was_profile = stored and root == id

    def rank(self) -> tuple[bool, bytes]:
        """The static order of roots: the least of a component is its root."""
        return self.facet.events == 0, self.id


class Evidence(NamedTuple):
    """A source showed two identifiers to be one person, first by that event. ``new``: not stored yet."""

    child: bytes
    parent: bytes
    source: str
    message_id: str
    at: int
    new: bool


class Forest:
    """The part of the forest that a batch concerns, and what applying events to it changes.

    ``loaded`` names every facet that was looked up; those without a node do not exist yet. When an event
    needs a facet that was not looked up, it goes into ``missing`` and what was done is void: load it too and
    start again. Without ``loaded`` the forest is complete: what has no node does not exist.
    """

    def __init__(self, nodes: Iterable[Node] = (), loaded: set[bytes] | None = None) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.changed: set[bytes] = set()
        """Facets to write."""
        self.dirty: set[bytes] = set()
        self._evidence: dict[tuple[bytes, bytes, str], Evidence] = {}
        self.missing: set[bytes] = set()
        self.merges = 0
        self._loaded = loaded

    def apply(self, seen: Observation) -> None:
        """Take in one event that was not taken in before."""
        node = self._obtain(seen.facet, seen.identifier)
        if node is None:
            return
        first = not node.facet.events
        links = node.facet.apply(seen)
        self.changed.add(node.id)
        self.dirty.add(node.root)
        if first and node.root != node.id and node.facet.kind == USER_ID:
            self._join(node, node.root)
        for link, new in links:
            self._link(node, link, seen, new)

    def marks(self) -> list[bytes]:
        """Roots, also former ones, to publish anew; sorted. What never was a profile needs no tombstone."""
        return sorted(id for id in self.dirty if not self._never_a_profile(id))

    def _never_a_profile(self, id: bytes) -> bool:
        node = self.nodes.get(id)
        return node is not None and node.root != id and not node.stored

    @property
    def evidence(self) -> Iterable[Evidence]:
        """What to keep, one per child, parent and source."""
        return self._evidence.values()

    @property
    def profiles(self) -> int:
        """By how much the number of profiles changes."""
        changed = [self.nodes[id] for id in self.changed]
        return sum((node.root == node.id) - node.was_profile for node in changed)

    def _link(self, parent: Node, link: Link, seen: Observation, new: bool) -> None:
        child = self._obtain(link.child, link.identifier)
        if child is None:
            return
        key = (child.id, parent.id, seen.source)
        new = new or (key in self._evidence and self._evidence[key].new)
        self._evidence[key] = Evidence(*key, seen.message_id, seen.at, new)
        if link.identifier.kind == USER_ID:
            if child.root != parent.root:
                root = self._existing(parent.root)
                if root is not None:
                    self._join(root, child.root)
        else:
            self._claim(child, parent, (seen.at, seen.message_id, seen.source, parent.id))

    def _claim(self, child: Node, parent: Node, claim: Claim) -> None:
        """Give the child that parent if it has no better evidence."""
        if child.facet.claim is not None and child.facet.claim <= claim:
            return
        root, before = self._existing(parent.root), self._existing(child.root)
        if root is None or before is None:
            return
        child.facet.claim = claim
        self.changed.add(child.id)
        if before is root:
            return
        if before is child:
            self.merges += child.facet.events > 0
        else:
            before.members.discard(child.id)
        root.members.add(child.id)
        child.root = root.id
        self.changed.update((before.id, root.id))
        self.dirty.update((before.id, root.id))

    def _join(self, one: Node, other_root: bytes) -> None:
        """Make one profile of that node's (a root, or a member that may become one) and another root's."""
        other = self._existing(other_root)
        if other is None or other is one:
            return
        winner, loser = sorted((one, other), key=Node.rank)
        if loser.root != loser.id:
            return
        family = (loser.members | {loser.id}) - {winner.id}
        nodes = [self._existing(member) for member in family]
        if None in nodes:
            return
        for node in nodes:
            if node is not None:
                node.root = winner.id
        self.merges += loser.facet.events > 0 and winner.root == winner.id
        loser.members = set()
        winner.root = winner.id
        winner.members |= family
        self.changed |= family | {winner.id}
        self.dirty.update((winner.id, loser.id))

    def _obtain(self, id: bytes, identifier: Identifier) -> Node | None:
        """The facet's node, made where it does not exist; None when it was not looked up."""
        node = self.nodes.get(id)
        if node is None:
            if self._loaded is not None and id not in self._loaded:
                self.missing.add(id)
                return None
            node = self.nodes[id] = Node(id, id, set(), Facet.new(identifier), stored=False)
            self.changed.add(id)
        return node

    def _existing(self, id: bytes) -> Node | None:
        node = self.nodes.get(id)
        if node is None:
            self.missing.add(id)
        return node


def pack_members(members: Iterable[bytes]) -> bytes:
    return b"".join(sorted(members))


def unpack_members(packed: bytes) -> set[bytes]:
    return {packed[i : i + HASH_SIZE] for i in range(0, len(packed), HASH_SIZE)}
