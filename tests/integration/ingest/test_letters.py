"""Whose dead letters are whose."""

from __future__ import annotations

from services.ingest.letters import letters_of
from services.kernel import codec, headers
from services.kernel.events import DeadLetter
from services.kernel.message import Message
from services.kernel.produce import BatchProducer
from services.kernel.settings import Settings

ANA, BEN, DEVICE = (bytes([n]) * 16 for n in range(1, 4))


async def test_a_letter_is_who_it_came_under_whoever_shares_the_device(settings: Settings) -> None:
    producer = BatchProducer(settings, "test")
    await producer.start()
    for user in (ANA, BEN):
        letter = DeadLetter("no_name", "ingest", "", None, None, None, "web", 0, user)
        naming = ((headers.IDENTIFIERS, user + DEVICE),)
        await producer.produce("deadletters", None, [Message(user, codec.encode(letter), naming)])
    await producer.stop()
    assert [letter.payload async for letter in letters_of(settings, {BEN, DEVICE})] == [BEN]
