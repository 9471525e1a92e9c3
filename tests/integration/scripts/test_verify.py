"""`rollbook verify` on real servers finds every broken promise, and none where all hold."""

import json
from contextlib import closing
from typing import Any

import pytest

from projectors.postgres.store.database import Database
from runtime.settings import Settings
from tests.depth import depth
from tests.people import people_csv
from tests.processes import Rollbook, RunningProcess

pytestmark = pytest.mark.timeout(300)

USERS = 2_000


def verify(rollbook: Rollbook, *options: str, code: int = 0) -> dict[str, Any]:
    """Run the command, which must end with `code`; return check → its object."""
    checks = rollbook.ndjson("verify", *options, code=code)
    return {check["check"]: check for check in checks}


def broken(checks: dict[str, Any]) -> list[str]:
    """Return the promises that do not hold."""
    return [name for name, check in checks.items() if not check["holds"]]


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
    path.write_text(people_csv(depth(10_000, 40_000), "more"), encoding="utf-8")
    load = system.start("users", "import", "--json", str(path))
    rounds = 0
    while load.returncode() is None or not rounds:
        assert broken(verify(system)) == []
        rounds += 1
    assert load.returncode() == 0
    assert broken(verify(system)) == []


def test_a_tampered_read_model_is_found(system: Rollbook, settings: Settings) -> None:
    """A row changed or removed in the store, and so a wrong summary; no name is printed."""
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
                "UPDATE {schema}.user_history SET name = 'Mallory' WHERE name = 'Zoë first 9'"
            ),
        ):
            connection.execute(statement)
    checks = verify(system, code=1)
    assert "Mallory" not in str(checks)
    assert set(broken(checks)) == {
        "postgres: holds exactly the fold of user-events",
        "postgres: the summary equals a recomputation",
        "history: holds exactly the fold of user-history",
    }
    examples = " ".join(checks["postgres: holds exactly the fold of user-events"]["examples"])
    assert "differs in name" in examples
    assert "is missing" in examples


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
