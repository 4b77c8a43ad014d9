"""Dead letters chosen, and written again to events.collected once what made them dead is mended.

They take the way of every event: the gate and profile judge them by the consent of today, and what was
applied before is a repeat. What is still bad becomes a dead letter again, which names its origin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from services.ingest.replay import recollected
from services.kernel import codec, headers
from services.kernel.deadletter import MAX_PAYLOAD, TOPIC, Letter
from services.kernel.events import DeadLetter
from services.kernel.identifier import Hasher
from services.kernel.masking.cleaner import Cleaner
from services.kernel.masking.rules import Rules
from services.kernel.message import Message
from services.kernel.outcome import BadRecord
from services.kernel.policy import Policy, load
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings
from services.kernel.tail import held

COLLECTED = "events.collected"
_AT_ONCE = 500
"""Records written with one acknowledgement."""
_FROM = {"gate": COLLECTED, "profile": "events.permitted"}
"""Topic from which a stage reads events."""


class Kept(NamedTuple):
    """A dead letter and where it stands in the topic."""

    partition: int
    offset: int
    letter: Letter

    @property
    def place(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def origin(self) -> str | None:
        """Where what was replayed was first written; None for what never was replayed."""
        found = headers.value(self.letter.headers, headers.ORIGIN)
        return None if found is None else found.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters; None leaves that open. ``since`` and ``until``: of dead_at, µs, until exclusive."""

    reason: str | None = None
    source: str | None = None
    step: str | None = None
    since: int | None = None
    until: int | None = None
    place: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it takes every letter."""
        return self == Choice()

    def described(self) -> str:
        """For people: what was chosen by."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return " ".join(f"{name}={value}" for name, value in given.items()) or "all"

    def takes(self, kept: Kept) -> bool:
        value = kept.letter.value
        return (
            self.reason in (None, value.reason)
            and self.source in (None, value.source)
            and self.step in (None, value.step)
            and (self.since is None or value.dead_at >= self.since)
            and (self.until is None or value.dead_at < self.until)
            and self.place in (None, kept.place)
        )


@dataclass(slots=True)
class Outcome:
    """``replayed``: letters written again. ``refused``: letters that can't be, each with the reason."""

    replayed: list[Kept] = field(default_factory=list)
    refused: list[tuple[Kept, BadRecord]] = field(default_factory=list)


async def chosen(settings: Settings, choice: Choice) -> AsyncIterator[tuple[Kept, Any]]:
    """The dead letters that are kept now and chosen, each with its record. Raises Outage."""
    async for record in held(settings, TOPIC):
        letter = Letter(record.key, codec.decode(DeadLetter, record.value), record.headers)
        kept = Kept(record.partition, record.offset, letter)
        if choice.takes(kept):
            yield kept, record


async def replay(settings: Settings, choice: Choice, *, dry_run: bool) -> Outcome:
    """Write the chosen letters again, each acknowledged by all replicas, or only find out what would become
    of them. Doing it twice changes nothing. Raises Outage, after which some may be written."""
    outcome = Outcome()
    waiting: list[tuple[Kept, Message]] = []
    hasher = settings.hasher()
    cleaner = Cleaner(Rules.load(settings.ingest_rules))
    policy = load(settings.policy)
    producer = BatchProducer(settings, "candor-replay")
    await producer.start()
    try:
        async for kept, _ in chosen(settings, choice):
            try:
                waiting.append((kept, message(kept, hasher, cleaner, policy)))
            except BadRecord as error:
                outcome.refused.append((kept, error))
            if len(waiting) == _AT_ONCE:
                await _write(producer, waiting, outcome, dry_run)
        await _write(producer, waiting, outcome, dry_run)
    finally:
        await producer.stop()
    return outcome


async def _write(
    producer: BatchProducer, waiting: list[tuple[Kept, Message]], outcome: Outcome, dry_run: bool
) -> None:
    if not dry_run:
        await producer.produce(COLLECTED, None, [message for _, message in waiting])
    outcome.replayed += [kept for kept, _ in waiting]
    waiting.clear()


def message(kept: Kept, hasher: Hasher, cleaner: Cleaner, policy: Policy) -> Message:
    """The record that replays a letter: of ingest the call collected again, else the original record.

    Raises BadRecord where it can't be replayed.
    """
    value = kept.letter.value
    if value.step not in ("ingest", *_FROM):
        raise BadRecord("not_an_event", f"a letter of {value.step}: only events can be replayed")
    if not kept.letter.headers:
        raise BadRecord("no_headers", "the record had no headers, or an older version kept none")
    if value.step == "ingest":
        found = recollected(kept.letter, kept.place, hasher, cleaner, policy)
        first = f"{TOPIC}:{kept.place}"
    else:
        found = _original(kept.letter)
        first = f"{value.topic}:{value.partition}:{value.offset}"
    return found._replace(headers=_with_origin(found.headers, kept.origin or first))


def _original(letter: Letter) -> Message:
    value = letter.value
    if not (value.topic or "").endswith(_FROM[value.step]):
        raise BadRecord("not_an_event", f"a record of {value.topic}: only events can be replayed")
    if len(value.payload) >= MAX_PAYLOAD:
        raise BadRecord("not_kept", f"of its bytes only the first {MAX_PAYLOAD} were kept")
    return Message(letter.key, value.payload, letter.headers)


def _with_origin(named: Sequence[tuple[str, bytes]], origin: str) -> list[tuple[str, bytes]]:
    """What the gate adds is left out: it adds it anew."""
    kept = [(name, data) for name, data in named if name not in (headers.ORIGIN, headers.PURPOSES)]
    return [*kept, (headers.ORIGIN, origin.encode())]
