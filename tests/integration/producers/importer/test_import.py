"""Imports on real servers: each user is created once, each bad line is listed."""

import json
import os
import signal
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from producers.importer.lines import read_users
from producers.importer.run import UserImport
from producers.importer.source import Source
from runtime.kafka.clients import lone_consumer
from runtime.settings import Settings
from schemas.topics import OUTCOMES
from tests.depth import DEEP
from tests.samples.people import HEADER, people_csv
from tests.started.processes import Rollbook, RunningProcess, eventually


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file that the test imports."""
    return tmp_path / "people.csv"


def outcomes_end(settings: Settings) -> int:
    """Return the sum of the end offsets of the outcomes."""
    topic = settings.named(OUTCOMES.name)
    consumer = lone_consumer(settings)
    ends = [
        consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
        for number in range(settings.partitions)
    ]
    consumer.close()
    return sum(ends)


def summary(totals: dict[str, int]) -> tuple[int, int, int, int]:
    return totals["created"], totals["already_there"], totals["rejected"], totals["undecided"]


def test_an_import_run_again_creates_no_user_twice(
    rollbook: Rollbook, handler: RunningProcess, file: Path
) -> None:
    """Nor in the other format, nor an empty table. Without rejects there is no file of rejects."""
    file.write_text(people_csv(3000), encoding="utf-8")
    assert summary(rollbook.json("users", "import", str(file))) == (3000, 0, 0, 0)
    assert summary(rollbook.json("users", "import", str(file))) == (0, 3000, 0, 0)
    lines = [
        json.dumps({"age": n % 100, "email": f"user{n}@example.com", "name": f"Zoë user {n}"})
        for n in range(3000)
    ]
    again = rollbook.json("users", "import", "-", stdin="\n".join(lines))
    assert summary(again) == (0, 3000, 0, 0)
    assert summary(rollbook.json("users", "import", "-", stdin=HEADER)) == (0, 0, 0, 0)
    assert not list(file.parent.glob("*.rejects.ndjson"))


def test_lines_with_the_same_address_create_one_user(
    rollbook: Rollbook, handler: RunningProcess, file: Path
) -> None:
    """Equal lines in flight together, and different lines with a registered address."""
    file.write_text(
        HEADER
        + "jane@example.com,Jane,34\n" * 50
        + "JANE@example.com,Jane,34\n"
        + "jane@example.com,Other,3\n"
    )
    assert summary(rollbook.json("users", "import", str(file))) == (1, 51, 0, 0)


@pytest.mark.parametrize("in_flight", [1, 2, 7])
def test_any_number_in_flight_imports_every_line(
    settings: Settings, handler: RunningProcess, file: Path, in_flight: int
) -> None:
    file.write_text(people_csv(20) + "user19@example.com,Zoë user 19,19\n" * 5, encoding="utf-8")
    running = UserImport(settings, lambda *_line: None, in_flight=in_flight)
    with file.open("rb") as opened:
        assert running.run(read_users(Source(opened), None))
    running.close()
    assert (running.totals.created, running.totals.already_there) == (20, 5)


@pytest.mark.skipif(
    not DEEP, reason="test_nemesis.py kills handlers during imports, too; in `make test-deep`"
)
def test_an_import_survives_a_killed_handler(
    settings: Settings, rollbook: Rollbook, handler: RunningProcess, file: Path
) -> None:
    """It waits for the next handler; every user is created once."""
    file.write_text(people_csv(60_000), encoding="utf-8")
    importing = rollbook.start("users", "import", "--in-flight", "2000", str(file))
    eventually(lambda: outcomes_end(settings) > 10_000)
    handler.kill()
    assert "undecided" not in importing.text(), "it ended before the handler was killed"
    rollbook.start_handler()
    assert importing.wait(120) == 0, importing.text()
    assert "created           60000" in importing.text()
    assert summary(rollbook.json("users", "import", str(file))) == (0, 60_000, 0, 0)


def test_without_a_handler_the_import_gives_up_and_can_be_run_again(
    rollbook: Rollbook, file: Path
) -> None:
    """Exit 4 after --timeout without progress; the commands sent are decided later."""
    file.write_text(people_csv(100), encoding="utf-8")
    done = rollbook.run("users", "import", str(file), "--timeout", "0.5", "--json")
    assert done.returncode == 4
    assert summary(json.loads(done.stdout)) == (0, 0, 0, 100)
    assert "creates no user twice" in json.loads(done.stderr)["error"]["next"]
    rollbook.start_handler()
    totals = rollbook.json("users", "import", str(file))
    assert totals["created"] + totals["already_there"] == 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_prints_its_totals(
    rollbook: Rollbook, file: Path, number: signal.Signals
) -> None:
    """Exit 130, and the totals add up."""
    file.write_text(people_csv(100), encoding="utf-8")
    importing = rollbook.start("users", "import", "--format", "csv", str(file))
    importing.wait_for("100 lines read")
    os.kill(importing.pid, number)
    assert importing.wait() == 130
    assert "undecided         100" in importing.text()
    assert "creates no user twice" in importing.text()


def test_the_lines_of_a_slow_pipe_are_sent_as_they_arrive(
    rollbook: Rollbook, handler: RunningProcess, tmp_path: Path
) -> None:
    """They used to wait for 2,000 lines or the end of the pipe."""
    pipe, rejects = tmp_path / "pipe", tmp_path / "rejects"
    os.mkfifo(pipe)
    importing = rollbook.start("users", "import", "--rejects", str(rejects), str(pipe))
    with pipe.open("w", encoding="utf-8") as slow:
        slow.write("email;name;age\na@example.com;A;1\n")
        slow.flush()
        eventually(lambda: outcomes_end(rollbook.settings) > 0)
        slow.write("b@example.com;B;2\n")
    assert importing.wait() == 0, importing.text()
    assert "created           2" in importing.text()


def test_the_list_of_rejects_cannot_overwrite_the_imported_file(
    rollbook: Rollbook, file: Path
) -> None:
    """A typing mistake must not destroy the data."""
    file.write_text(people_csv(1), encoding="utf-8")
    assert rollbook.run("users", "import", str(file), "--rejects", str(file)).returncode == 2
    assert file.read_text(encoding="utf-8") == people_csv(1)
