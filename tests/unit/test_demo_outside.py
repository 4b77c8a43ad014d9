"""What the demo measures from outside: metrics, records of the topics, the SSE stream."""

import json
import time
from collections import Counter
from dataclasses import dataclass

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.demo import records, run
from deploy.demo.api import Services, counts
from deploy.demo.measured import Counts, Delivery
from deploy.demo.run import NotPlayed
from services.kernel import codec, headers
from services.kernel.events import Activity, DeadLetter, Event, GoldenRecord, Transition
from services.kernel.settings import Settings
from tests.support.ports import free_port

RUN = "r1"


@dataclass
class Record:
    value: bytes | None
    key: bytes = b""
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def event(message_id: str, payload: bytes = b"{}") -> Event:
    return Event(
        message_id=message_id,
        source="demo-web",
        type="page",
        name=None,
        user_id="1-r1",
        anonymous_id=None,
        previous_id=None,
        group_id=None,
        timestamp=1,
        timestamp_bounded=False,
        received_at=1,
        received_day=0,
        payload=payload,
    )


def letter(payload: bytes) -> Record:
    return Record(codec.encode(DeadLetter("reason", "step", "", None, None, None, None, 1, payload)))


def golden(profile_id: str, version: int, user_id: str) -> GoldenRecord:
    activity = {"$page": Activity(1, 1, 1, [], [], [], [], {})}
    return GoldenRecord(profile_id, version, [user_id], [], [], b"{}", activity, 1, 1, 1)


def test_a_service_that_does_not_answer_is_named_with_what_to_do() -> None:
    nobody = Settings(identifier_key=bytes(16), postgres_password="", segment_port=free_port())
    with pytest.raises(NotPlayed, match=r"the demo stopped: .*\n.*candor status"):
        run.main(nobody, {"admin": ""}, time.monotonic(), None)


def test_deliveries_are_this_runs_with_the_start_of_their_request() -> None:
    mine = Record(codec.encode(event("r1-1")), headers=((headers.STARTED, b"42"),))
    others = [Record(codec.encode(event("r0-1"))), Record(None)]
    assert records.deliveries([mine, *others], RUN) == [Delivery("r1-1", "1-r1", None, 42)]


def test_ticks_are_told_apart() -> None:
    assert records.ticks([Record(None), Record(codec.encode(event("r1-1"))), Record(None)]) == 2


def test_dead_letters_are_named_by_message_id_wherever_they_died() -> None:
    at_the_door = letter(json.dumps({"messageId": "r1-7"}).encode())
    later = letter(codec.encode(event("r1-8")))
    unreadable = letter(b"\xff")
    assert records.refused([at_the_door, later, unreadable]) == ["r1-7", "r1-8", "(step: reason)"]


def test_of_golden_records_the_newest_counts_and_a_tombstone_removes() -> None:
    topic = [
        Record(codec.encode(golden("a" * 32, 1, "1-r1")), key=b"a" * 32),
        Record(codec.encode(golden("a" * 32, 2, "1-r1")), key=b"a" * 32),
        Record(codec.encode(golden("b" * 32, 1, "2-r1")), key=b"b" * 32),
        Record(None, key=b"b" * 32),
        Record(codec.encode(golden("c" * 32, 1, "3-r0")), key=b"c" * 32),
    ]
    assert {key: record.version for key, record in records.golden(topic, RUN).items()} == {"a" * 32: 2}


def test_transitions_keep_the_order_of_their_partition() -> None:
    def transition(sequence: int) -> bytes:
        return codec.encode(Transition("s", 1, "p", None, [], True, sequence, "rule", None, 1, 1))

    topic = [Record(transition(n), partition=n % 2) for n in range(6)]
    found = records.transitions(topic)
    assert [[one.sequence for one in partition] for partition in found] == [[0, 2, 4], [1, 3, 5]]


def test_a_card_number_is_found_however_it_is_spelt() -> None:
    topics = {
        "one": [Record(b"... 4111 1111 1111 1111 ..."), Record(b"4111111111111111"), Record(None)],
        "two": [Record(b"... ************1111 ...")],
    }
    assert records.card_numbers(topics) == {"one": 2, "two": 0}


def sample(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


def test_the_counts_of_the_account_come_from_the_services_counters() -> None:
    samples = Counter(
        {
            sample("candor_records_total", stage="ingest", outcome="ok"): 100,
            sample("candor_records_total", stage="ingest", outcome="dead"): 3,
            sample("candor_records_total", stage="gate", outcome="ok"): 90,
            sample("candor_records_total", stage="gate", outcome="dropped"): 10,
            sample("candor_records_total", stage="profile", outcome="applied"): 80,
            sample("candor_records_total", stage="profile", outcome="duplicate"): 8,
            sample("candor_records_total", stage="profile", outcome="dropped"): 2,
            sample("candor_dead_letters_total", stage="ingest", reason="no_event"): 3,
            sample("candor_masked_total", kind="card_number"): 5,
        }
    )
    assert counts(samples) == Counts(accepted=103, applied=80, repeats=8, dropped=12, bad=3, masked=5)


async def test_a_cut_stream_is_taken_up_where_it_stopped() -> None:
    asked: list[str | None] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        asked.append(request.headers.get("Last-Event-ID"))
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b": heartbeat\n\nretry: 1000\n\n")
        first = 0 if asked[-1] is None else int(asked[-1])
        for sequence in range(first + 1, first + 3):
            data = {
                "segment_key": "s",
                "profile_id": "p",
                "user_id": None,
                "member": sequence % 2 == 1,
                "sequence": sequence,
            }
            body = b"id: %d\nevent: transition\ndata: %s\n\n" % (sequence, msgspec.json.encode(data))
            for half in (body[:9], body[9:]):
                await answer.write(half)
        return answer

    application = web.Application()
    application.router.add_get("/v1/stream", stream)
    async with TestServer(application) as server:
        settings = Settings(
            identifier_key=bytes(16), postgres_password="", host=server.host, segment_port=server.port or 0
        )
        async with Services(settings, "secret") as services, services.subscribe() as subscriber:
            await subscriber.received(6)
            told = list(subscriber.told[:6])
    assert [(one.sequence, one.member) for one in told] == [(n, n % 2 == 1) for n in range(1, 7)]
    assert asked[:3] == [None, "2", "4"]
