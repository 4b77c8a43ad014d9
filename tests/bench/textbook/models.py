"""The records of the textbook pipeline and the settings its four apps share."""

from __future__ import annotations

import os
from typing import Any

import faust

PARTITIONS = 6
PREFIX = os.environ.get("TEXTBOOK_PREFIX", "textbook.")


class Event(faust.Record, serializer="json"):
    type: str
    messageId: str
    anonymousId: str
    timestamp: str
    context: dict[str, Any]
    userId: str | None = None
    event: str | None = None
    name: str | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None

    @property
    def person(self) -> str:
        return self.userId or self.anonymousId


class Decision(faust.Record, serializer="json"):
    person: str
    denied: bool


class Profile(faust.Record, serializer="json"):
    person: str
    traits: dict[str, Any]
    activity: dict[str, Any]


class Transition(faust.Record, serializer="json"):
    segment: str
    person: str
    member: bool


def make_app(name: str) -> faust.App:
    """An app as the documentation makes one; what differs from the defaults makes it faster."""
    return faust.App(
        PREFIX + name,
        broker=f"kafka://{os.environ.get('TEXTBOOK_KAFKA', '127.0.0.1:9092')}",
        store="memory://",
        topic_partitions=PARTITIONS,
        datadir=os.environ.get("TEXTBOOK_DATA", f"/tmp/{name}"),  # noqa: S108 - nothing is kept there
        producer_max_batch_size=512 * 1024,
        producer_linger=0.05,
        web_host="127.0.0.1",
    )
