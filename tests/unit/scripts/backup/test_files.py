"""A file holds what the log had, for us and for other readers, and for nobody else's eyes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import fastavro
import pytest

from schemas.coding.codec import schema_text
from schemas.topics import HISTORY
from scripts.backup.files import file_schema, read_records, sha256_of, write_records
from tests.samples.events import event_of
from tests.unit.scripts.backup.copies import copy_of

JANE = event_of("jane@example.com", seq=7)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """Times stay integers; nobody but the owner may read the file."""
    copy = copy_of(JANE, 41, 3)
    copy["headers"] = [{"name": "traceparent", "value": b"00-ab"}, {"name": "x", "value": None}]
    path = tmp_path / "history.avro"
    file = write_records(path, HISTORY, [copy])
    assert list(read_records(path, HISTORY)) == [copy]
    assert (file.records, file.size_bytes) == (1, path.stat().st_size)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_other_readers_see_times_and_fields(tmp_path: Path) -> None:
    """As fastavro shows the file to anyone."""
    path = tmp_path / "history.avro"
    write_records(path, HISTORY, [copy_of(JANE)])
    with path.open("rb") as opened:
        [found] = list(fastavro.reader(opened))
    assert found["record"]["user"]["email"] == "jane@example.com"  # type: ignore[index, call-overload]
    assert found["timestamp"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)  # type: ignore[index, call-overload]


def test_a_file_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    """Its schema has fewer fields."""
    earlier = file_schema(HISTORY)
    earlier["fields"][-1]["type"] = json.loads(schema_text("user_event"))
    record = {name: value for name, value in JANE.items() if name != "issued_by"}
    path = tmp_path / "history.avro"
    with path.open("wb") as opened:
        fastavro.writer(opened, earlier, [copy_of(record)])
    assert [one["record"] for one in read_records(path, HISTORY)] == [JANE]


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "history.avro"
    with pytest.raises(ValueError, match="event_id"):
        write_records(path, HISTORY, iter([copy_of({})]))
    assert not path.exists()
    write_records(path, HISTORY, [])
    assert sha256_of(path)
