"""`rollbook verify` on real servers finds every broken promise, and none where all hold."""

import json
from contextlib import closing
from typing import Any

import pytest
from psycopg import sql

from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import users_index
from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.topics import COMMANDS, EVENTS
from tests.depth import depth
from tests.integration.foreign import ForeignWriter
from tests.samples.people import people_csv
from tests.started.processes import Rollbook, RunningProcess

pytestmark = pytest.mark.timeout(300)

USERS = 2_000


def verify(rollbook: Rollbook, *options: str, code: int = 0) -> dict[str, Any]:
    """Run the command, which must end with `code`; return check → its object."""
    checks = rollbook.ndjson("verify", *options, code=code)
    return {check["check"]: check for check in checks}


def broken(checks: dict[str, Any]) -> list[str]:
    """Return the promises that do not hold."""
    return [name for name, check in checks.items() if not check["holds"]]


def tamper_with_tables(settings: Settings) -> None:
    """Change and remove rows, as someone else with access to PostgreSQL might."""
    users = Database(settings, version=1)
    history = Database(settings, read_model="history", version=1)
    home9 = sql.Identifier(f"{users.home}_postgres_9")
    with closing(users), closing(history), users.session() as connection:
        for statement in (
            users.statement(
                "UPDATE {schema}.users SET name = 'Mallory' WHERE email = 'first7@example.com'"
            ),
            users.statement("DELETE FROM {schema}.users WHERE email = 'first8@example.com'"),
            users.statement(
                "UPDATE {schema}.users SET created_at = '2001-01-01' "
                "WHERE email = 'first11@example.com'"
            ),
            # A marker that contains a name and an address; the view hides it.
            users.statement(
                "UPDATE {schema}.users SET age = NULL, created_at = NULL "
                "WHERE email = 'first12@example.com'"
            ),
            # A version that no rebuild builds any more, and that holds an erased user.
            users.statement(
                "INSERT INTO {home}.model_versions (model, number) VALUES ('postgres', 9)"
            ),
            users.statement("CREATE SCHEMA {home9}", home9=home9),
            users.statement(
                "CREATE TABLE {home9}.users AS SELECT * FROM {schema}.users", home9=home9
            ),
            history.statement(
                "UPDATE {schema}.user_history SET name = 'Mallory' WHERE name = 'Zoë first 9'"
            ),
        ):
            connection.execute(statement)


def change_document(settings: Settings, email: str, fields: dict[str, Any]) -> None:
    """Change fields of a user's document, as someone else with access to the index might."""
    index = users_index(settings, 1)
    with closing(connect(settings)) as client:
        client.indices.refresh(index=index)
        [hit] = client.search(index=index, query={"term": {"email": email}})["hits"]["hits"]
        client.index(index=index, id=hit["_id"], document=hit["_source"] | fields)


@pytest.fixture
def system(
    rollbook: Rollbook, handler: RunningProcess, projectors: dict[str, RunningProcess]
) -> Rollbook:
    """Handler and projectors, with a history of every kind of answer."""
    jane = json.dumps({"email": "jane@example.com", "name": "Jane", "age": 34})
    created = rollbook.json("users", "create", "-", "--command-id", "c1", stdin=jane)
    rollbook.json("users", "create", "-", "--command-id", "c1", stdin=jane)
    rollbook.json("users", "create", "-", stdin=jane, code=3)
    user_id = created["user_id"]
    rollbook.json("users", "update", user_id, "--age", "35")
    rollbook.json("users", "update", user_id, "--age", "35")
    assert rollbook.run("users", "import", "-", stdin=people_csv(USERS, "first")).returncode == 0
    return rollbook


def test_every_promise_holds_at_rest_and_under_load(system: Rollbook) -> None:
    """Also while commands are decided and events applied."""
    checks = verify(system)
    assert broken(checks) == []
    assert checks["postgres: holds exactly the fold of user-events"]["looked_at"] == USERS + 1
    assert checks["elasticsearch: holds exactly the fold of user-events"]["looked_at"] == USERS + 1
    path = system.directory / "more.csv"
    path.write_text(people_csv(depth(5_000, 40_000), "more"), encoding="utf-8")
    load = system.start("users", "import", "--json", str(path))
    rounds = 0
    while load.returncode() is None or not rounds:
        assert broken(verify(system)) == []
        rounds += 1
    assert load.returncode() == 0
    assert broken(verify(system)) == []


def test_a_tampered_read_model_is_found(
    system: Rollbook, settings: Settings, projectors: dict[str, RunningProcess]
) -> None:
    """A row changed, removed or left in a store, and foreign records; no name is printed."""
    assert broken(verify(system)) == []
    mallory = json.dumps({"email": "mallory@example.com", "name": "Mallory", "age": 34})
    erased = system.json("users", "create", "-", "--wait", "postgres", stdin=mallory)
    tamper_with_tables(settings)
    system.json("users", "erase", erased["user_id"], "--yes", "--wait", "postgres")
    assert projectors["postgres"].stop() == 0  # before it drops the abandoned version
    change_document(settings, "first13@example.com", {"name_folded": "mallory"})
    change_document(settings, "first14@example.com", {"updated_at": 1})
    ForeignWriter(settings).put(EVENTS, b"no Avro", b"a key", 0)
    ForeignWriter(settings).put(COMMANDS, b"no Avro", b"a key", 0)
    checks = verify(system, code=1)
    assert "Mallory" not in str(checks)
    assert set(broken(checks)) == {
        "postgres: holds exactly the fold of user-events",
        "postgres: the summary equals a recomputation",
        "elasticsearch: holds exactly the fold of user-events",
        "history: holds exactly the fold of user-history",
        "postgres 9 (building): holds nothing of an erased user",
        "only handlers have written to the topics of handlers",
        "no dead letter is open, except of commands",
    }
    assert checks["elasticsearch: holds exactly the fold of user-events"]["found"] == 2
    assert checks["dead letters of commands"]["found"] == 1
    examples = " ".join(checks["postgres: holds exactly the fold of user-events"]["examples"])
    assert "differs in name" in examples
    assert "is missing" in examples
    assert "differs in created_at" in examples
    assert "differs in age, age_group, created_at" in examples


def test_a_projector_that_never_ran_is_found(rollbook: Rollbook, handler: RunningProcess) -> None:
    """A comparison that cannot be made fails; `--log-only` does not need projectors."""
    rollbook.json("users", "create", "--email", "a@example.com", "--name", "A", "--age", "1")
    checks = verify(rollbook, "--timeout", "0", code=1)
    assert broken(checks) == [
        "postgres: has applied the log to its end",
        "elasticsearch: has applied the log to its end",
        "history: has applied the log to its end",
    ]
    assert broken(verify(rollbook, "--log-only")) == []
