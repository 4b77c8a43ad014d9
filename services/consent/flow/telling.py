"""What consent must know of an event that the gate judged: links, GPC headers, and what a preference event
chose. Of the event nothing goes along but hashes of identifiers and names of purposes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from services.kernel import codec
from services.kernel.events import ConsentSignal, Event
from services.kernel.handler import Record
from services.kernel.headers import IDENTIFIERS, PREFERENCE, SERVER, SOURCE, STARTED
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, Hasher, is_blocked, split
from services.kernel.message import Message
from services.kernel.outcome import BadRecord

LINK, GPC, DENY, GRANT = "link", "gpc", "deny", "grant"


class _Consent(Struct, gc=False):
    categoryPreferences: dict[str, bool] | None = None


class _Context(Struct, gc=False):
    consent: _Consent | None = None


class _Payload(Struct, gc=False):
    context: _Context | None = None


_payload = msgspec.json.Decoder(_Payload)


def told(kind: str, record: Record, hasher: Hasher) -> Message | None:
    """The signal of a link or a GPC header, though the record itself may be dropped. None where nothing is
    left of it without the identifiers that stand for nobody: through them a denial would reach everybody.

    Where the payload can't be read, the record's coordinates stand for the message id: the person's denial
    does not depend on it.
    """
    found = dict(record.headers)
    identifiers = split(found[IDENTIFIERS])
    try:
        event = codec.decode(Event, record.value)
    except BadRecord:
        message_id = f"{record.topic}:{record.partition}:{record.offset}"
    else:
        message_id = event.message_id
        identifiers = _somebodys(event, identifiers, hasher)
    if len(identifiers) < (2 if kind == LINK else 1):
        return None
    return _signal(record, found, kind, identifiers, message_id)


def chosen(record: Record, hasher: Hasher) -> Iterator[Message]:
    """The signals of a preference event: what it denies, and what it grants as far as its key may.

    Write keys are public: with one anybody may deny for all identifiers of the event, but grant for its
    anonymous_id alone. One that can't be read tells nothing; it is judged as any event.
    """
    found = dict(record.headers)
    try:
        event = codec.decode(Event, record.value)
        said = _payload.decode(event.payload)
    except (BadRecord, msgspec.DecodeError):
        return
    consent = said.context and said.context.consent
    preferences = (consent and consent.categoryPreferences) or {}
    identifiers = _somebodys(event, split(found[IDENTIFIERS]), hasher)
    granting = identifiers
    if found[PREFERENCE] != SERVER:
        own = hasher(ANONYMOUS_ID, event.anonymous_id) if event.anonymous_id else b""
        granting = [identifier for identifier in identifiers if identifier == own]
    for kind, names, is_granted in ((DENY, identifiers, False), (GRANT, granting, True)):
        purposes = sorted(purpose for purpose, allowed in preferences.items() if allowed is is_granted)
        if names and purposes:
            yield _signal(record, found, kind, names, event.message_id, purposes)


def _signal(
    record: Record,
    found: dict[str, bytes],
    kind: str,
    identifiers: list[bytes],
    message_id: str,
    purposes: Iterable[str] = (),
) -> Message:
    source = found[SOURCE].decode("utf-8", "replace")
    signal = ConsentSignal(kind, identifiers, source, message_id, int(found[STARTED]), list(purposes))
    return Message(record.key, codec.encode(signal))


def _somebodys(event: Event, identifiers: list[bytes], hasher: Hasher) -> list[bytes]:
    """Those of the event's identifiers that do not stand for nobody. A previous id may be of either kind."""
    values = (
        (USER_ID, event.user_id),
        (ANONYMOUS_ID, event.anonymous_id),
        (USER_ID, event.previous_id),
        (ANONYMOUS_ID, event.previous_id),
    )
    blocked = {hasher(kind, value) for kind, value in values if value and is_blocked(value)}
    return [identifier for identifier in identifiers if identifier not in blocked]
