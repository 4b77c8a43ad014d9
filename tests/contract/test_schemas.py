"""Every schema has examples, every example survives our types, and no committed schema changes."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import fastavro
import msgspec
import pytest

from services.kernel import codec
from services.kernel.events import RECORDS, ConsentState, Event, Record
from services.kernel.outcome import BadRecord
from services.kernel.topics import registry

EXAMPLES = sorted((codec.FOLDER / "examples").glob("*/*/*.json"))
KINDS = {kind.schema: kind for kind in RECORDS}


def example(path: Path) -> tuple[type[Record], bytes]:
    """The type and wire format of an example file, written by fastavro alone."""
    record, version = path.parts[-3], path.parts[-2]
    schema = json.loads((codec.FOLDER / record / f"{version}.avsc").read_text())
    [fields] = fastavro.json_reader(io.StringIO(json.dumps(json.loads(path.read_text()))), schema)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, fields)
    number = json.loads(codec.LOCK.read_text())[record][version]["id"]
    return KINDS[record], b"\x00" + number.to_bytes(4, "big") + body.getvalue()


def test_every_schema_version_has_examples() -> None:
    files = {(path.parent.name, path.stem) for path in codec.FOLDER.glob("*/*.avsc")}
    assert files == {(path.parts[-3], path.parts[-2]) for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "/".join(path.parts[-3:]))
def test_every_example_is_read_and_of_the_newest_version_written_unchanged(path: Path) -> None:
    kind, data = example(path)
    record = codec.decode(kind, data)
    assert isinstance(record, kind)
    assert codec.decode(kind, codec.encode(record)) == record
    if int(path.parts[-2]) == kind.schema_version:
        assert codec.encode(record) == data


def test_the_topic_registry_names_only_known_schemas() -> None:
    assert {topic.schema for topic in registry().values()} == set(KINDS)


def test_the_lock_matches_the_files() -> None:
    assert codec.check() == []


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of schemas/ that may be spoilt."""
    shutil.copytree(codec.FOLDER, tmp_path / "schemas")
    monkeypatch.setattr(codec, "FOLDER", tmp_path / "schemas")
    return tmp_path / "schemas"


def test_a_changed_schema_is_found(copied: Path) -> None:
    file = copied / "event" / "1.avsc"
    file.write_text(file.read_text().replace('"message_id"', '"message"'))
    assert any("event/1.avsc changed" in problem for problem in codec.check(copied / "schemas.lock"))


def test_an_incompatible_new_version_is_found(copied: Path) -> None:
    schema = json.loads((copied / "transition" / "1.avsc").read_text())
    schema["fields"].append({"name": "country", "type": "string"})
    (copied / "transition" / "2.avsc").write_text(json.dumps(schema))
    problems = codec.check(copied / "schemas.lock")
    assert "schemas/transition/2.avsc and version 1: country" in problems


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "not_avro"),
        (b"", "not_avro"),
        (b"{}", "not_avro"),
        (b'{"a": 1}', "not_avro"),
        (b"\x00\x00\x00\xff\xff" + b"x" * 40, "unknown_schema"),
        (codec.encode(ConsentState(1, [], [], False, 0)), "unknown_schema"),
    ],
)
def test_what_is_not_an_event_is_refused(data: bytes | None, reason: str) -> None:
    with pytest.raises(BadRecord) as refused:
        codec.decode(Event, data)
    assert refused.value.reason == reason


def test_a_truncated_event_is_refused() -> None:
    _, data = example(codec.FOLDER / "examples/event/1/track.json")
    for length in range(5, len(data)):
        with pytest.raises(BadRecord):
            codec.decode(Event, data[:length])


def test_a_value_that_does_not_fit_is_refused() -> None:
    _, data = example(codec.FOLDER / "examples/event/1/track.json")
    event = codec.decode(Event, data)
    with pytest.raises(BadRecord):
        codec.encode(msgspec.structs.replace(event, timestamp=1 << 70))
