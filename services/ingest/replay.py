"""A bad call collected again from its dead letter, as if its request had begun when that was written."""

from __future__ import annotations

from services.ingest.domain.calls import NULL, Request
from services.ingest.domain.collecting import Collector
from services.ingest.domain.payload import Sender
from services.ingest.flow import event_message
from services.kernel import headers
from services.kernel.deadletter import Letter
from services.kernel.identifier import Hasher
from services.kernel.masking.cleaner import Cleaner
from services.kernel.message import Message
from services.kernel.outcome import BadRecord
from services.kernel.permission import Stamp
from services.kernel.policy import Policy


def recollected(letter: Letter, place: str, hasher: Hasher, cleaner: Cleaner, policy: Policy) -> Message:
    """The record for events.collected. It is the same whenever that letter is collected under that policy, so
    that doing it twice makes a repeat: its times are the letter's, and a message id that is missing comes
    from ``place``, which must be the letter's alone.

    Raises BadRecord where the call is still bad, or of its ids or itself not enough was kept.
    """
    value = letter.value
    if headers.value(letter.headers, headers.ID_MASKED):
        raise BadRecord("card_as_identifier", "an id was masked")
    if not value.payload:
        raise BadRecord("not_kept", "nothing of the call was kept")
    source = value.source or ""
    harmless = cleaner.harmless(value.payload)
    collector = Collector(
        Request([value.payload], None, None, None, NULL, NULL),
        Sender(source, None, None, place=policy.place_of(source, None)),
        value.dead_at,
        f"letter-{place}-{value.dead_at}",
        hasher,
        cleaner,
        harmless=harmless,
    )
    suspicious = not harmless and cleaner.suspicious(value.payload)
    collected = collector.collect(value.payload, 0, suspicious=suspicious)
    stamp = headers.value(letter.headers, headers.STAMP)
    common = ((headers.SOURCE, source.encode()), (headers.STARTED, b"%d" % value.dead_at))
    gpc = stamp is not None and Stamp.from_header(stamp).gpc
    return event_message(collected, common, policy, gpc)
