"""From a call to the event that is stored, with what its headers say. Pure: time and ids are handed in."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from services.ingest.domain import calls
from services.ingest.domain.calls import Call, Request, Text
from services.ingest.domain.payload import Sender, Shared
from services.ingest.domain.times import DAY, corrected, iso, microseconds
from services.kernel import limits
from services.kernel.events import Event
from services.kernel.identifier import ANONYMOUS_ID, USER_ID, normalise
from services.kernel.masking.cleaner import Cleaner
from services.kernel.outcome import BadRecord
from services.kernel.permission import Stamp

MAX_MESSAGE_ID = 100
MAX_TEXT = 1_000
"""Characters of an identifier and of a name."""
CONSENT_EVENT = "Segment Consent Preference Updated"


class Collected(Struct, frozen=True, gc=False):
    """An event to store.

    ``identifiers``: their hashes, the routing id's first. ``stamp``: what its context says of consent, None
    where that says nothing. ``preference``: whether it says what its person chose. ``test``: whether it is a
    test event. ``masked``: kinds of what was taken out.
    """

    event: Event
    identifiers: list[bytes]
    stamp: Stamp | None
    preference: bool
    test: bool
    masked: list[str]


class Collector:
    """Makes the events of one request.

    ``received_at``: its start, µs, which also fixes the received day. ``request_id``: unique, makes the
    message ids that are missing. ``hash_``: the keyed hash of (kind, value). ``cleaner``: takes out what
    must not be stored. ``harmless``: whether it found nothing in the request. ``masked``: kinds of what was
    taken out of what its calls share. Raises BadRecord where what they share is no JSON object or
    breaks a limit.
    """

    def __init__(
        self,
        request: Request,
        sender: Sender,
        received_at: int,
        request_id: str,
        hash_: Callable[[str, str], bytes],
        cleaner: Cleaner,
        *,
        harmless: bool,
    ) -> None:
        self._shared = Shared(request, sender, cleaner, harmless=harmless)
        self._cleaner = cleaner
        self._type = request.type
        self._source = sender.source
        self._place = sender.place
        self._received_at = received_at
        self._received_day = received_at // DAY
        self._request_id = request_id
        self._hash = hash_
        self._sent_at = microseconds(request.sent_at)
        self.masked = self._shared.masked

    def collect(self, raw: bytes, index: int, *, suspicious: bool, harmless: bool = False) -> Collected:
        """The event of one call, ``index`` being its place in the request. Raises BadRecord with the reason
        and the place of what is wrong. ``harmless`` and ``suspicious``: what the look found
        (:class:`Look`); unless it is suspicious it must hold nothing to take out."""
        call = calls.read_call(raw)
        limits.check(raw, harmless=harmless)
        masked: list[str] = []
        if suspicious:
            cleaned, masked = self._cleaner.clean(raw)
            if masked:
                call = self._without_cards(call, calls.decode_call(cleaned))
        type_ = self._type or call.type or ""
        message_id = _text(call.messageId, "messageId", MAX_MESSAGE_ID) or f"{self._request_id}-{index}"
        user_id = _text(call.userId, "userId")
        anonymous_id = _text(call.anonymousId, "anonymousId")
        if user_id is None and anonymous_id is None:
            raise BadRecord("missing_id", "userId or anonymousId")
        name, previous_id, group_id = _subject(call, type_)
        timestamp, bounded = self._happened(call)
        payload, said = self._shared.payload(call, type_)
        preference = type_ == calls.TRACK and name == CONSENT_EVENT
        if preference and said.stamp is None:
            raise BadRecord("bad_consent", "$.context.consent.categoryPreferences is missing")
        event = Event(
            message_id=message_id,
            source=self._source,
            type=type_,
            name=name,
            user_id=user_id,
            anonymous_id=anonymous_id,
            previous_id=previous_id,
            group_id=group_id,
            timestamp=timestamp,
            timestamp_bounded=bounded,
            received_at=self._received_at,
            received_day=self._received_day,
            payload=payload,
            place=said.place or self._place,
            place_declared=said.place is not None,
        )
        identifiers = self._identifiers(user_id, anonymous_id, previous_id)
        return Collected(event, identifiers, said.stamp, preference, said.test, masked)

    def completed(self, kept: bytes) -> bytes:
        """A bad call as its dead letter may hold it (:func:`payload.kept`), complete by itself: with its type
        where the path said so, and with what the request said for all its calls."""
        members = {"type": self._type, "sentAt": None if self._sent_at is None else iso(self._sent_at)}
        return self._shared.completed(kept, members)

    def routing_hash(self, raw: bytes) -> bytes | None:
        """The hash of the routing id of a bad call, where it has one that can be read."""
        try:
            call = calls.read_call(raw)
            identifiers = self._identifiers(
                _text(call.userId, "userId"), _text(call.anonymousId, "anonymousId"), None
            )
        except BadRecord:
            return None
        return identifiers[0] if identifiers else None

    def _identifiers(
        self, user_id: str | None, anonymous_id: str | None, previous_id: str | None
    ) -> list[bytes]:
        """SDKs put either kind of id into an alias's previousId, so it stands for both."""
        identifiers = [] if user_id is None else [self._hash(USER_ID, user_id)]
        if anonymous_id is not None:
            identifiers.append(self._hash(ANONYMOUS_ID, anonymous_id))
        if previous_id is not None:
            identifiers += (self._hash(USER_ID, previous_id), self._hash(ANONYMOUS_ID, previous_id))
        return identifiers

    def _happened(self, call: Call) -> tuple[int, bool]:
        """RudderStack's SDKs name the time of a call ``originalTimestamp``; a ``timestamp`` beside it is what
        the app gave, and stands as it is (rudder-server, ``enhanceWithTimeFields``)."""
        original = call.timestamp
        if call.originalTimestamp is not None:
            if original is not None:
                return corrected(original, None, self._received_at)
            original = call.originalTimestamp
        sent_at = self._sent_at if call.sentAt is None else microseconds(call.sentAt)
        return corrected(original, sent_at, self._received_at)

    def _without_cards(self, call: Call, cleaned: Call) -> Call:
        """The cleaned call. An identifier can neither be kept with a card number in it nor be changed, for
        then two people could become one; a message id becomes its hash, so that repeats stay repeats."""
        for field in ("userId", "anonymousId", "previousId", "groupId"):
            if getattr(call, field) != getattr(cleaned, field):
                raise BadRecord("card_as_identifier", f"$.{field}")
        if call.messageId != cleaned.messageId:
            cleaned.messageId = self._hash("message_id", str(call.messageId)).hex()
        return cleaned


def _subject(call: Call, type_: str) -> tuple[str | None, str | None, str | None]:
    """Name, previous id and group id: which of them there are depends on the type."""
    if type_ == calls.TRACK:
        return _required(call.event, "event"), None, None
    if type_ == calls.IDENTIFY:
        return None, None, None
    if type_ in (calls.PAGE, calls.SCREEN):
        return _text(call.name, "name"), None, None
    if type_ == calls.GROUP:
        return None, None, _required(call.groupId, "groupId")
    if type_ == calls.ALIAS:
        _required(call.userId, "userId")
        return None, _required(call.previousId, "previousId"), None
    raise BadRecord("unknown_type", f"$.type: expected one of {', '.join(sorted(calls.TYPES))}")


def _text(value: Text, place: str, longest: int = MAX_TEXT) -> str | None:
    """A name or an id in the form in which ids are compared; None where it is missing or empty."""
    if value is None:
        return None
    if not isinstance(value, str):
        value = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    value = value.strip() if value.isascii() else normalise(value)
    if len(value) > longest or "\0" in value:
        raise BadRecord("bad_field", f"$.{place}: expected at most {longest} characters, none of them NUL")
    return value or None


def _required(value: Text, place: str) -> str:
    text = _text(value, place)
    if text is None:
        raise BadRecord("missing_field", f"$.{place}")
    return text
