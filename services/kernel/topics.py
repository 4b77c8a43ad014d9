"""The registry of topics (schemas/topics.yaml) and how it comes true on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code
from msgspec import Struct

from services.kernel.outcome import CandorError, Outage
from services.kernel.settings import ROOT, Settings

REGISTRY = ROOT / "schemas" / "topics.yaml"
_READY_SECONDS = 30
_NO_ERROR, _TOPIC_EXISTS = 0, 36


class TopicMismatch(CandorError):
    """A topic of the registry can not be had on this cluster as it is registered; one line for each."""


class Topic(Struct, frozen=True, forbid_unknown_fields=True):
    """What the registry says of one topic; ``config`` is spelled as Kafka spells it. ``holds``: what of a
    person stands in it until it is cleaned."""

    key: str
    partitions: int
    schema: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    config: dict[str, str | int | float]
    holds: str = ""


def registry() -> dict[str, Topic]:
    """Every topic by its name without prefix. Raises msgspec.ValidationError naming the wrong entry."""
    return msgspec.yaml.decode(REGISTRY.read_bytes(), type=dict[str, Topic])


async def ensure(settings: Settings, names: Iterable[str] | None = None) -> list[str]:
    """Create the registered topics (or those of ``names``) that the cluster lacks; returns what it created.

    Safe to repeat and to call from several processes at once. When it returns every partition has a leader.
    Copies of a partition: 3, with 2 in sync to acknowledge, on three brokers or more; else one a broker.

    Raises TopicMismatch when a topic exists with another number of partitions or the cluster refuses it,
    Outage when Kafka does not answer.
    """
    registered = registry()
    wanted = {settings.topic(name): registered[name] for name in (registered if names is None else names)}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        created = await _create(admin, wanted)
        async with asyncio.timeout(_READY_SECONDS):
            partitions = await _partitions(admin, wanted)
    except (KafkaError, TimeoutError, OSError) as error:
        raise Outage(f"Kafka at {settings.kafka}: {error or type(error).__name__}") from error
    finally:
        await admin.close()
    wrong = [
        f"{name}: {partitions[name]} partitions, expected {topic.partitions}; the number never changes"
        for name, topic in wanted.items()
        if partitions[name] != topic.partitions
    ]
    if wrong:
        raise TopicMismatch("\n".join(wrong))
    return created


async def _create(admin: AIOKafkaAdminClient, wanted: Mapping[str, Topic]) -> list[str]:
    copies = min(3, len((await admin.describe_cluster())["brokers"]))
    safety = {"min.insync.replicas": "2"} if copies == 3 else {}
    answer = await admin.create_topics(
        [
            NewTopic(
                name,
                topic.partitions,
                copies,
                topic_configs={**{key: str(value) for key, value in topic.config.items()}, **safety},
            )
            for name, topic in wanted.items()
        ]
    )
    codes = {name: (code, message) for name, code, message in answer.topic_errors}
    refused = [
        f"{name}: {message or for_code(code).__name__}"
        for name, (code, message) in codes.items()
        if code not in (_NO_ERROR, _TOPIC_EXISTS)
    ]
    if refused:
        raise TopicMismatch("\n".join(refused))
    return [name for name, (code, _) in codes.items() if code == _NO_ERROR]


async def _partitions(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    """Number of partitions by topic, once all of them can be written to."""
    wanted = list(names)
    while True:
        topics = await admin.describe_topics(wanted)
        if all(
            not topic["error_code"] and all(not part["error_code"] for part in topic["partitions"])
            for topic in topics
        ):
            return {topic["topic"]: len(topic["partitions"]) for topic in topics}
        await asyncio.sleep(0.02)
