"""Records of the topics as the account wants them. Pure; raises BadRecord for what is none of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from deploy.demo.calls import CARDS
from deploy.demo.measured import Delivery
from deploy.demo.topics import Record
from services.kernel import codec, headers
from services.kernel.events import DeadLetter, Event, GoldenRecord, Transition
from services.kernel.outcome import BadRecord

_SPELLINGS = tuple(
    {spelling.encode() for card in CARDS for spelling in (card, "".join(filter(str.isdigit, card)))}
)


def deliveries(records: Iterable[Record], run: str) -> list[Delivery]:
    """What this run sent, of records of events.collected or events.permitted."""
    found = []
    for record in records:
        if record.value is None:
            continue
        event = codec.decode(Event, record.value)
        if event.message_id.startswith(f"{run}-"):
            started = int(headers.value(record.headers, headers.STARTED) or b"0")
            found.append(Delivery(event.message_id, event.user_id, event.anonymous_id, started))
    return found


def ticks(records: Iterable[Record]) -> int:
    """How many are no events: the gate writes them to let a quiet partition's segment close."""
    return sum(record.value is None for record in records)


def refused(records: Iterable[Record]) -> list[str]:
    """Message ids of dead letters; of one that has none its reason."""
    return [_message_id(codec.decode(DeadLetter, record.value)) for record in records]


def golden(records: Iterable[Record], run: str) -> dict[str, GoldenRecord]:
    """The newest golden record of every profile of this run, in the order of the topic's partitions."""
    newest: dict[str, GoldenRecord] = {}
    for record in records:
        if record.value is None:
            newest.pop(record.key.decode(), None)
            continue
        profile = codec.decode(GoldenRecord, record.value)
        if any(value.endswith(f"-{run}") for value in (*profile.user_ids, *profile.anonymous_ids)):
            newest[profile.profile_id] = profile
    return newest


def transitions(records: Iterable[Record]) -> list[list[Transition]]:
    """By partition, in order."""
    partitions: dict[int, list[Transition]] = {}
    for record in records:
        partitions.setdefault(record.partition, []).append(codec.decode(Transition, record.value))
    return list(partitions.values())


def card_numbers(topics: Mapping[str, Sequence[Record]]) -> dict[str, int]:
    """How many records of each topic hold one of the card numbers that were sent, spelt in any way."""
    return {
        name: sum(any(spelling in (record.value or b"") for spelling in _SPELLINGS) for record in records)
        for name, records in topics.items()
    }


def _message_id(letter: DeadLetter) -> str:
    try:
        return codec.decode(Event, letter.payload).message_id
    except BadRecord:
        pass
    try:
        sent: Any = msgspec.json.decode(letter.payload)
        return str(sent["messageId"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"({letter.step}: {letter.reason})"
