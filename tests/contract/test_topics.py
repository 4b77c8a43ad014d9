"""The registry of topics says what docs and services rely on."""

from services.consent.flow.gate import GROUP
from services.kernel import topics
from services.kernel.recent.following import GATE_GROUP
from services.kernel.settings import ROOT, SERVICES

MEANT = {"deadletters": "DeadLetters(", "audit.acts": "Audit("}
"""How a service's code speaks of topics that it writes by way of the kernel."""


def test_producers_and_consumers_are_services() -> None:
    for name, topic in topics.registry().items():
        assert {*topic.producers, *topic.consumers} <= set(SERVICES), name


def test_a_service_stands_beside_a_topic_exactly_if_its_code_names_it() -> None:
    code = {
        service: "".join(path.read_text() for path in (ROOT / "services" / service).rglob("*.py"))
        for service in SERVICES
    }
    for name, topic in topics.registry().items():
        named = {service for service in SERVICES if MEANT.get(name, f'"{name}"') in code[service]}
        assert named == {*topic.producers, *topic.consumers}, name


def test_every_segment_closes_so_that_it_can_be_cleaned() -> None:
    for name, topic in topics.registry().items():
        assert "segment.ms" in topic.config, name
        if topic.config["cleanup.policy"] == "compact":
            assert "max.compaction.lag.ms" in topic.config, name


def test_the_gate_keeps_partition_numbers_so_the_counts_agree() -> None:
    registry = topics.registry()
    assert registry["events.collected"].partitions == registry["events.permitted"].partitions


def test_recent_events_are_settled_by_the_commits_of_the_gate() -> None:
    assert GATE_GROUP == GROUP
