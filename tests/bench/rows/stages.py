"""Where the time between HTTP and a transition goes: delays by stage, read off the records themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord
from prometheus_client.parser import text_string_to_metric_families

from services.kernel import codec
from services.kernel.events import GoldenRecord, Transition
from services.kernel.headers import STARTED, value
from services.kernel.settings import Settings
from tests.bench.candor import Candor, partitions

TOPICS = ("events.permitted", "profiles.state", "segments.transitions")
Ends = Mapping[TopicPartition, int]


async def ends(settings: Settings) -> Ends:
    """Where the topics end now."""
    parts = [
        TopicPartition(settings.topic(name), number) for name in TOPICS for number in range(partitions(name))
    ]
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka) as consumer:
        return dict(await consumer.end_offsets(parts))


async def delays(settings: Settings, since: Ends) -> dict[str, list[float]]:
    """Milliseconds by stage, from the records written since then.

    gate: from the start of the request, so with ingest, to the permitted record. profile: from the permitted
    record of the newest event folded in to the golden record. segment: from there to the judgement. relay:
    from there to the transition's record.
    """
    permitted: dict[int, float] = {}
    golden: dict[tuple[int, int], float] = {}
    found: dict[str, list[float]] = {"gate": [], "profile": [], "segment": [], "relay": []}
    async for record in _records(settings, since):
        if record.topic.endswith("events.permitted"):
            started = int(value(record.headers, STARTED) or b"0")
            permitted[started] = record.timestamp
            found["gate"].append(record.timestamp - started / 1000)
        elif record.value is None:
            continue
        elif record.topic.endswith("profiles.state"):
            newest = codec.decode(GoldenRecord, record.value).received_at
            golden[record.partition, record.offset] = record.timestamp
            if newest in permitted:
                found["profile"].append(record.timestamp - permitted[newest])
        else:
            transition = codec.decode(Transition, record.value)
            judged = transition.evaluated_at / 1000
            found["relay"].append(record.timestamp - judged)
            cause = transition.cause
            if cause is not None and (cause.partition, cause.offset) in golden:
                found["segment"].append(judged - golden[cause.partition, cause.offset])
    return found


Batches = Counter[tuple[str, str]]


def batches(ours: Candor) -> Batches:
    """By stage: how many batches there were, and records in them, since its process started."""
    found: Batches = Counter()
    for service in ours.services.values():
        text = httpx.get(f"{service.url}/metrics").raise_for_status().text
        for family in text_string_to_metric_families(text):
            if family.name == "candor_batch_records":
                for sample in family.samples:
                    found[sample.labels["stage"], sample.name.rpartition("_")[2]] += int(sample.value)
    return found


def records_per_batch(before: Batches, after: Batches) -> dict[str, float]:
    """By stage that had any batches meanwhile; an average."""
    counts = {stage: after[stage, "count"] - before[stage, "count"] for stage, _ in after}
    return {
        stage: round((after[stage, "sum"] - before[stage, "sum"]) / count, 1)
        for stage, count in counts.items()
        if count
    }


async def _records(settings: Settings, since: Ends) -> AsyncIterator[ConsumerRecord]:
    """Topic by topic, in the order of TOPICS."""
    until = await ends(settings)
    for name in TOPICS:
        parts = [part for part in since if part.topic == settings.topic(name) and until[part] > since[part]]
        async with AIOKafkaConsumer(
            bootstrap_servers=settings.kafka, isolation_level="read_committed"
        ) as consumer:
            consumer.assign(parts)
            for part in parts:
                consumer.seek(part, since[part])
            while any([await consumer.position(part) < until[part] for part in parts]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        yield record
