"""`rollbook verify` on real servers: silent about what is right, under load too; else loud."""

import json
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import Producer

from projectors.catalog import OURS
from projectors.postgres.store.database import Database
from runtime.kafka import producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.topics import EVENTS, TOPICS
from scripts.verify.reader import LogReader
from tests.processes import Rollbook, RunningProcess

pytestmark = pytest.mark.timeout(300)

USERS = 2_000


def verify(rollbook: Rollbook, *options: str, code: int = 0) -> dict[str, Any]:
    """Run the command, which must end with `code`; return check → its object."""
    done = rollbook.run("verify", "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    return {check["check"]: check for check in checks}


def broken(checks: dict[str, Any]) -> list[str]:
    """Return the promises that do not hold."""
    return [name for name, check in checks.items() if not check["holds"]]


def people(tag: str, count: int = USERS) -> str:
    """Return a CSV of users."""
    lines = [f"{tag}{n}@example.com,{tag.title()} {n},{n % 100}" for n in range(count)]
    return "\n".join(["email,name,age", *lines])


@pytest.fixture
def system(rollbook: Rollbook, handler: RunningProcess) -> Rollbook:
    """Handler and projectors, with a history of every kind of answer."""
    for name in OURS:
        rollbook.start_projector(name)
    jane = json.dumps({"email": "jane@example.com", "name": "Jane", "age": 34})
    created = rollbook.json("users", "create", "-", "--command-id", "c1", stdin=jane)
    rollbook.json("users", "create", "-", "--command-id", "c1", stdin=jane)
    rollbook.json("users", "create", "-", stdin=jane, code=3)
    user_id = created["user_id"]
    rollbook.json("users", "update", user_id, "--age", "35")
    rollbook.json("users", "update", user_id, "--age", "35")
    assert rollbook.run("users", "import", "-", stdin=people("first")).returncode == 0
    return rollbook


def test_what_is_right_holds_also_under_load(system: Rollbook) -> None:
    """Every promise holds at rest, and while commands are decided and applied."""
    checks = verify(system)
    assert broken(checks) == []
    assert checks["postgres: holds exactly the fold of user-events"]["looked_at"] == USERS + 1
    assert checks["elasticsearch: holds exactly the fold of user-events"]["looked_at"] == USERS + 1
    path = system.directory / "more.csv"
    path.write_text(people("more", 40_000))
    load = system.start("users", "import", "--json", str(path))
    rounds = 0
    while load.returncode() is None or not rounds:
        assert broken(verify(system)) == []
        rounds += 1
    assert load.returncode() == 0
    assert broken(verify(system)) == []


def test_foreign_bytes_are_listed_and_break_nothing(system: Rollbook, settings: Settings) -> None:
    """Garbage on every topic is shown with its coordinates; every promise still holds."""
    producer = Producer(producer_config(settings))
    for topic in TOPICS:
        for value in (b"", b"garbage", b"\x00\x00\x00\x00\x01garbage"):
            producer.produce(settings.named(topic.name), value, b"\xff", 0)
    producer.flush()
    system.json("users", "create", "--email", "after@example.com", "--name", "A", "--age", "1")
    checks = verify(system)
    assert broken(checks) == []
    assert checks["records that are not ours"]["found"] == 6
    assert checks["dead letters"]["found"] >= 3


def test_a_tampered_read_model_is_found(system: Rollbook, settings: Settings) -> None:
    """A row changed or removed behind our back, and the summary with it; no name is printed."""
    assert broken(verify(system)) == []
    users = Database(settings, version=1)
    history = Database(settings, read_model="history", version=1)
    with closing(users), closing(history), users.session() as connection:
        for statement in (
            users.statement(
                "UPDATE {schema}.users SET name = 'Mallory' WHERE email = 'first7@example.com'"
            ),
            users.statement("DELETE FROM {schema}.users WHERE email = 'first8@example.com'"),
            history.statement(
                "UPDATE {schema}.user_history SET name = 'Mallory' WHERE name = 'First 9'"
            ),
        ):
            connection.execute(statement)
    done = system.run("verify", "--json")
    assert done.returncode == 1
    assert "Mallory" not in done.stdout
    checks = {check["check"]: check for check in map(json.loads, done.stdout.splitlines())}
    assert set(broken(checks)) == {
        "postgres: holds exactly the fold of user-events",
        "postgres: the summary equals a recomputation",
        "history: holds exactly the fold of user-history",
    }
    examples = " ".join(checks["postgres: holds exactly the fold of user-events"]["examples"])
    assert "differs in name" in examples
    assert "is missing" in examples


def test_a_forged_event_is_found(system: Rollbook, settings: Settings) -> None:
    """An event written past the handler has no history behind it."""
    with LogReader(settings) as reader:
        partition, event = next(
            (entry.partition, entry.record)
            for number in range(settings.partitions)
            for entry in reader.read(EVENTS, number)
        )
    codec = Registry(settings).codec(EVENTS.schema)
    forged = event | {"seq": 1_000_000, "version": 9, "event_id": f"{event['user_id']}:9"}
    producer = Producer(producer_config(settings))
    producer.produce(settings.named(EVENTS.name), codec.encode(forged), event["user_id"], partition)
    producer.flush()
    checks = verify(system, "--log-only", code=1)
    assert broken(checks) == ["events: each user's last record equals the history's last"]


def test_a_projector_that_does_not_run_is_found(
    rollbook: Rollbook, handler: RunningProcess
) -> None:
    """Nothing to compare is no success: the check says how far each model is."""
    rollbook.json("users", "create", "--email", "a@example.com", "--name", "A", "--age", "1")
    checks = verify(rollbook, "--timeout", "0", code=1)
    assert broken(checks) == [
        "postgres: has applied the log to its end",
        "elasticsearch: has applied the log to its end",
        "history: has applied the log to its end",
    ]
    assert broken(verify(rollbook, "--log-only")) == []
