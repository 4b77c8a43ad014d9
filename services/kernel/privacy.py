"""What the consent service asks of the others for people's requests."""

from __future__ import annotations

from services.kernel import codec
from services.kernel.events import PrivacyRequest
from services.kernel.handler import Batch


def asked_of(service: str, batch: Batch) -> list[PrivacyRequest]:
    """What the records of privacy.requests ask of the service, each request once, however often it is asked
    for: as it was asked last. Raises BadRecord for one that can't be read."""
    asked = [codec.decode(PrivacyRequest, record.value) for records in batch.values() for record in records]
    return list({request.id: request for request in asked if service in request.services}.values())
