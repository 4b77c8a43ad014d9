"""People's requests in the consent service: the denial, the cut, and what is asked of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from services.consent.domain.request_rights import ERASURE, Request
from services.consent.flow.reading import in_force
from services.kernel.audit import Actor
from services.kernel.clock import SECOND
from services.kernel.internal import Neighbours
from services.kernel.postgres import Connection
from services.kernel.settings import Settings
from tests.support.clock import ManualClock
from tests.support.consent import Instance, consent, until

ANA, PHONE, TABLET = (bytes([n]) * 16 for n in range(1, 4))
_WAITING = "FROM pg_locks WHERE NOT granted AND relation = 'requests'::regclass"


class Profile(Neighbours):
    """The profile service, which says that these are one person, and takes a second to."""

    def __init__(self, settings: Settings, clock: ManualClock, *person: bytes) -> None:
        super().__init__(settings)
        self.clock = clock
        self.person = person
        self.asked: Callable[[], Awaitable[None]] | None = None

    async def ask(self, service: str, path: str, body: dict[str, Any], actor: Actor) -> dict[str, Any]:
        assert (service, path) == ("profile", "/v1/privacy/person")
        self.clock.advance(SECOND)
        if self.asked is not None:
            await self.asked()
        return {"identifiers": [id.hex() for id in self.person]}


async def cut(one: Instance, id: str) -> Request:
    """The request once it was cut."""

    async def found() -> Request:
        request = await one.requests.find(id)
        assert request is not None
        return request

    async def is_cut() -> bool:
        return (await found()).erased_at > 0

    await until(is_cut)
    return await found()


async def test_what_began_before_a_denial_was_acknowledged_is_before_the_cut(settings: Settings) -> None:
    clock = ManualClock()
    async with consent(settings, clock, neighbours=Profile(settings, clock, ANA)) as one:
        opened = await one.requests.open(ERASURE, "link", frozenset({ANA}), "opt_in")
        acknowledged = clock.now()
        erased = await cut(one, opened.id)
        assert erased.erased_at > acknowledged
        assert (await in_force(one.pool, ANA)).erased_at == erased.erased_at


async def test_a_person_who_has_grown_since_a_try_that_failed_is_cut_whole(settings: Settings) -> None:
    clock = ManualClock()
    profile = Profile(settings, clock, ANA, PHONE)
    async with consent(settings, clock, neighbours=profile) as one, one.pool.acquire() as other:
        failing = other.transaction()

        async def hold() -> None:
            """Let the denials be noted, and then nothing be settled."""
            await failing.start()
            await other.execute("LOCK TABLE requests IN SHARE MODE")
            profile.asked = None

        profile.asked = hold
        opened = await one.requests.open(ERASURE, "link", frozenset({ANA}), "opt_in")
        await until(lambda: _waiting(other))
        profile.person = (ANA, PHONE, TABLET)
        await other.execute(f"SELECT pg_terminate_backend(pid) {_WAITING}")  # the try fails
        await failing.rollback()
        clock.advance(60 * SECOND)
        erased = await cut(one, opened.id)
        assert erased.concerned == {ANA, PHONE, TABLET}
        states = [await in_force(one.pool, id) for id in sorted(erased.concerned)]
        assert [state.erased_at for state in states] == [erased.erased_at] * 3


async def _waiting(connection: Connection) -> bool:
    return bool(await connection.fetchval(f"SELECT count(*) {_WAITING}"))


async def test_a_step_is_asked_for_ever_less_often(settings: Settings) -> None:
    clock = ManualClock()
    async with consent(settings, clock, neighbours=Profile(settings, clock, ANA)) as one:
        opened = await one.requests.open(ERASURE, "link", frozenset({ANA}), "opt_in")
        await cut(one, opened.id)
        for waited, expected in ((4, 0), (10, 1), (5, 0), (30, 1), (20, 0), (3600, 1), (100, 0), (300, 1)):
            clock.advance(waited * SECOND)
            await one.requests.work()
            async with one.pool.acquire() as connection:
                asked = await connection.fetchval(
                    "SELECT count(*) FROM request_steps WHERE state <> 'done' AND asked_at = $1", clock.now()
                )
            assert bool(asked) == bool(expected), waited
