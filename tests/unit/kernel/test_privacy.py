"""What is asked of services for people's requests."""

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from services.kernel import codec
from services.kernel.events import PrivacyRequest
from services.kernel.privacy import asked_of


def test_a_request_is_worked_once_however_often_it_is_asked_for() -> None:
    asked = [
        PrivacyRequest("a", "erasure", ["profile", "ingest"], [bytes(16)], 1),
        PrivacyRequest("b", "erasure", ["ingest"], [bytes(16)], 2),
        PrivacyRequest("a", "erasure", ["profile", "ingest"], [bytes(16)], 1),
        PrivacyRequest("a", "erasure", ["segment"], [bytes(16)], 1),
    ]
    records = [
        ConsumerRecord("r", 0, at, 0, 0, b"", codec.encode(one), None, 0, 0, ())
        for at, one in enumerate(asked)
    ]
    batch = {TopicPartition("r", 0): records}
    assert [one.id for one in asked_of("profile", batch)] == ["a"]
    assert [one.id for one in asked_of("ingest", batch)] == ["a", "b"]
    assert [one.services for one in asked_of("segment", batch)] == [["segment"]]
