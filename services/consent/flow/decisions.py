"""The path of a decision or link: queue → lock everybody concerned → ledger → effective states → commit.

Postgres is the commit point. What waits in the queue shares the next transaction (group commit): the chain of
the ledger lets only one transaction append at a time, so many small ones would wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import TypeVar

import asyncpg
from msgspec.structs import replace

from services.consent import store
from services.consent.domain import counting, ledger, rule
from services.consent.domain.counting import Asked, Counted
from services.consent.domain.ledger import Row, Terms
from services.consent.domain.rule import GPC, Decision, Pair
from services.consent.flow.changes import Change, Decide, Lapse, Noted, named
from services.consent.flow.effects import change_links, recompute
from services.consent.flow.publication import UNPUBLISHED
from services.kernel import metrics
from services.kernel.clock import DAY, Clock
from services.kernel.outcome import Outage
from services.kernel.policy.watching import InForce
from services.kernel.postgres import OUTAGES, RETRY, Connection, Pool
from services.kernel.relay import notify

GROUP_CHANGES = 500
"""Changes that share a transaction, at most (or those of one submission)."""
LAPSED_AT_ONCE = 500
ATTEMPTS = 20
TRANSACTION_SECONDS = 25
"""More than elsewhere: no paused worker can do harm here, and whoever shares a device with tens of thousands
must be able to decide all the same."""

log = logging.getLogger(__name__)


C = TypeVar("C", bound=Change)


@dataclass(frozen=True, slots=True)
class _Submission:
    changes: Sequence[Change]
    noted: asyncio.Future[list[Noted]]


class Decisions:
    """Commits changes in the order in which they are submitted, while :meth:`run` runs."""

    def __init__(self, pool: Pool, policies: InForce, clock: Clock) -> None:
        self._pool = pool
        self._policies = policies
        self._clock = clock
        self._queue: deque[_Submission] = deque()
        self._submitted = asyncio.Event()

    async def submit(self, changes: Sequence[Change]) -> list[Noted]:
        """Commit the changes, all or none of them. When it returns they are in Postgres.

        Raises Outage when Postgres can't do it now; even then they may have been committed.
        """
        noted: asyncio.Future[list[Noted]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Submission(changes, noted))
        self._submitted.set()
        return await noted

    async def lapse(self) -> int:
        """Let grants that have ended fall to the default. Returns for how many identifiers; idempotent."""
        count = 0
        while True:
            async with self._pool.acquire() as connection:
                due = await store.due(connection, self._clock.now(), LAPSED_AT_ONCE)
            if not due:
                return count
            await self.submit([Lapse(identifier) for identifier in due])
            count += len(due)

    async def run(self) -> None:
        """Commit what is submitted until cancelled."""
        try:
            while True:
                await self._submitted.wait()
                self._submitted.clear()
                while self._queue:
                    await self._settle(self._next_group())
        finally:
            for submission in self._queue:
                submission.noted.cancel()

    def _next_group(self) -> list[_Submission]:
        group = [self._queue.popleft()]
        size = len(group[0].changes)
        while self._queue and size + len(self._queue[0].changes) <= GROUP_CHANGES:
            group.append(self._queue.popleft())
            size += len(group[-1].changes)
        return group

    async def _settle(self, group: Sequence[_Submission]) -> None:
        """Commit a group and tell those who wait. What is wrong with one must not hurt the others."""
        try:
            noted = await self._commit([change for submission in group for change in submission.changes])
        except Exception as error:
            # A group that takes too long does so, most likely, because of one whose linked ones are many.
            alone = not isinstance(error, Outage) or isinstance(
                error.__cause__, asyncpg.TransactionTimeoutError
            )
            if len(group) > 1 and alone:
                for submission in group:
                    await self._settle([submission])
            else:
                for submission in group:
                    if not submission.noted.done():
                        submission.noted.set_exception(error)
            return
        except BaseException:
            for submission in group:
                submission.noted.cancel()
            raise
        start = 0
        for submission in group:
            end = start + len(submission.changes)
            if not submission.noted.done():
                submission.noted.set_result(noted[start:end])
            start = end

    async def _commit(self, changes: Sequence[Change]) -> list[Noted]:
        for _ in range(ATTEMPTS):
            try:
                async with self._pool.acquire() as connection:
                    noted = await self._transact(connection, changes)
                for counted, count in sum((change.counted for change in noted), Counter()).items():
                    metrics.CHOICES.labels(counted.choice, counted.purpose, *counted.asked).inc(count)
                return noted
            except RETRY as error:
                log.info("transaction is run again", extra={"why": type(error).__name__})
            except OUTAGES as error:
                raise Outage(f"Postgres: {type(error).__name__}", dependency="postgres") from error
        raise Outage(f"Postgres: the transaction lost {ATTEMPTS} times in a row", dependency="postgres")

    async def _transact(self, connection: Connection, changes: Sequence[Change]) -> list[Noted]:
        """Lock all that are linked to anybody concerned. Whoever adds a link locks both ends' linked ones as
        well: so once nobody is linked from within to outside, under the locks, it stays so."""
        concerned = await store.closure(connection, {x for change in changes for x in named(change)})
        while True:
            async with connection.transaction():
                await store.lock(connection, concerned)
                links = await store.links_of(connection, concerned)
                if all(other in concerned for _, other in links):
                    return await self._apply(connection, changes, concerned, links)
            concerned = await store.closure(connection, concerned)

    async def _apply(
        self, connection: Connection, changes: Sequence[Change], concerned: set[bytes], links: set[Pair]
    ) -> list[Noted]:
        now = self._clock.now()
        links = await change_links(connection, changes, links, now)
        decisions = await store.decisions_of(connection, concerned)
        noted, added = await self._append(connection, changes, decisions, links, now)
        decisions += added
        if decisions:
            changed = await recompute(connection, concerned, decisions, links, now)
            if changed:
                await notify(connection, UNPUBLISHED)
        waiting = await store.unpublished_of(connection, concerned)
        return [
            replaced(change, waiting=waiting) if (change := noted.get(index)) is not None else Noted(waiting)
            for index in range(len(changes))
        ]

    async def _append(
        self,
        connection: Connection,
        changes: Sequence[Change],
        decisions: Sequence[Decision],
        links: Collection[Pair],
        now: int,
    ) -> tuple[dict[int, Noted], list[Decision]]:
        """Put the decisions among the changes into the ledger. Returns what became of each, by its index,
        and those that are new, as the rule reads them."""
        given = {index: change for index, change in enumerate(changes) if isinstance(change, Decide)}
        if not given:
            return {}, []
        head = await store.lock_chain(connection)
        known = await store.by_id(connection, {(change.source, change.id) for change in given.values()})
        on_record = rule.on_gpc_record(decisions)
        decided_at = max(now, head.decided_at)
        told = list(decisions)
        naming: dict[bytes, list[Decision]] = defaultdict(list)
        for decision in decisions:
            _index(naming, decision)
        noted: dict[int, Noted] = {}
        rows: list[tuple[Row, Terms]] = []
        for index, change in given.items():
            terms = self._terms(change, decided_at, on_record)
            earlier = known.get((change.source, change.id))
            if earlier is not None:
                position, before = earlier
                same = terms.same_choice(before, change.ignored)
                noted[index] = Noted(frozenset(), before, position, conflict=not same)
                continue
            if change.said_at is not None:
                left = rule.without_answered(change.purposes, change.identifiers, change.said_at, told, links)
                terms = replace(terms, purposes=left)
            if not terms.identifiers or not terms.purposes:
                noted[index] = Noted(frozenset(), terms)
                continue
            row, head = ledger.append(head, terms, change.record, secrets.token_bytes(ledger.SALT_SIZE))
            rows.append((row, terms))
            decision = ledger.decision(row.position, terms)
            counted = self._counted(change.asked, decision, naming)
            told.append(decision)
            _index(naming, decision)
            known[change.source, change.id] = row.position, terms
            noted[index] = Noted(frozenset(), terms, row.position, counted=counted)
            if change.method == GPC:
                on_record |= change.identifiers
        if rows:
            await store.append(connection, rows, head)
            counts = sum((change.counted for change in noted.values()), Counter[Counted]())
            await store.count_choices(connection, decided_at // DAY, counts)
        return noted, told[len(decisions) :]

    def _counted(
        self, asked: Asked, decision: Decision, naming: Mapping[bytes, Sequence[Decision]]
    ) -> Counter[Counted]:
        known = self._policies.current.purposes
        earlier = {d.position: d for x in decision.identifiers for d in naming.get(x, ())}
        ordered = [earlier[position] for position in sorted(earlier)]
        return counting.answered(asked, decision, counting.withdrawn(decision, ordered, known), known)

    def _terms(self, change: Decide, decided_at: int, on_record: Collection[bytes]) -> Terms:
        new = change.identifiers.difference(on_record) if change.method == GPC else change.identifiers
        grants = "grant" in change.purposes.values()
        return Terms(
            id=change.id,
            source=change.source,
            identifiers=tuple(sorted(identifier.hex() for identifier in new)),
            purposes=change.purposes,
            method=change.method,
            decided_at=decided_at,
            expires_at=decided_at + self._policies.current.grants.days * DAY if grants else 0,
            said_at=change.said_at or 0,
        )


def _index(naming: dict[bytes, list[Decision]], decision: Decision) -> None:
    for identifier in decision.identifiers:
        naming[identifier].append(decision)
