"""What changes do to links and effective states, within their transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from services.consent import store
from services.consent.domain import rule
from services.consent.domain.rule import Decision, Pair
from services.consent.flow.changes import Change, Cut, Link
from services.consent.store import Stored
from services.kernel import codec
from services.kernel.events import ConsentState
from services.kernel.postgres import Connection


async def change_links(
    connection: Connection, changes: Sequence[Change], links: set[Pair], now: int
) -> set[Pair]:
    """Store new links and cuts. Returns the links that then hold, of those concerned."""
    shown = {change.pair for change in changes if isinstance(change, Link)}
    if shown:
        new = shown - await store.known_links(connection, sorted(shown))
        await store.insert_links(connection, new, now)
        links = links | new
    cut = {change.pair for change in changes if isinstance(change, Cut)}
    if cut:
        await store.cut_links(connection, cut, now)
        links = links - cut - {(other, one) for one, other in cut}
    return links


async def recompute(
    connection: Connection,
    concerned: set[bytes],
    decisions: Sequence[Decision],
    links: Collection[Pair],
    now: int,
) -> int:
    """Write the effective states that differ from the stored ones; returns how many do.

    A state whose grant has ended is written anew even where it reads the same: those who judged by it
    must look again.
    """
    stored = await store.states(connection, concerned)
    effective = rule.effective(concerned, decisions, links, (), now)
    changed = {}
    for identifier, state in effective.items():
        before = stored[identifier]
        ended = before.next_expiry is not None and before.next_expiry <= now
        if ended or not _same(before, state):
            version = before.version + 1
            value = codec.encode(replace(state, version=version))
            later = [grant.expires_at for grant in state.granted if grant.expires_at > now]
            changed[identifier] = Stored(version, value, min(later, default=None))
    if changed:
        await store.write_states(connection, changed)
    return len(changed)


def _same(before: Stored, state: ConsentState) -> bool:
    """Whether the state says the same as the stored one; when it was decided is left out, so that repeating
    a decision changes nothing."""
    if before.state is None:
        return not (state.denied or state.granted or state.gpc)
    old = codec.decode(ConsentState, before.state)
    return replace(old, version=0, decided_at=0) == replace(state, version=0, decided_at=0)
