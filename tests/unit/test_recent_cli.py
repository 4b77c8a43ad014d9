"""What `candor tail --source` prints."""

from typing import Any

from services.commands.recent import line

AT = 1_763_900_000_123_456


def event(**members: Any) -> dict[str, Any]:
    accepted = {"ingest": {"outcome": "accepted", "seen_at": AT}}
    return {
        "message_id": "m1",
        "type": "track",
        "event": "Bought",
        "masked": False,
        "stages": accepted,
    } | members


def test_an_accepted_event() -> None:
    assert line(event()) == "12:13:20.123  accepted   m1  track Bought"
    assert line(event(masked=True)).endswith("track Bought  masked")


def test_a_dropped_event_names_the_purposes() -> None:
    gate = {"outcome": "dropped", "seen_at": AT, "denied": ["analytics", "marketing"]}
    shown = line(event(stages=event()["stages"] | {"gate": gate}))
    assert shown == "12:13:20.123  dropped    m1  track Bought  denied: analytics, marketing"


def test_a_dead_event_says_why() -> None:
    dead = {"ingest": {"outcome": "dead", "seen_at": AT}}
    shown = line(
        event(message_id=None, type=None, event=None, stages=dead, reason="unknown_type", detail="$.type")
    )
    assert shown == "12:13:20.123  dead       -  -  unknown_type $.type"
