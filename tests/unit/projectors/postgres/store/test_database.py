"""Which errors of PostgreSQL make a projector wait, and which are about one event."""

import psycopg
import pytest
from psycopg import errors

from projectors.postgres.store.database import Database, is_temporary
from runtime.settings import Settings
from schemas.errors import Poisoned, Unavailable

# Read-only after a failover, an aborted transaction, shutdowns, a lost connection, a full disk, too
# many connections, a deadlock, a file that cannot be read.
WAIT = [
    *("25006", "25P02", "57P01", "57P02", "57P03", "57P05", "08003", "08006", "53100", "53200"),
    *("53300", "40P01", "40001", "55P03", "58030", "XX000", "XX001"),
]


@pytest.mark.parametrize("state", WAIT)
def test_the_state_of_the_server_makes_a_projector_wait_and_reconnect(state: str) -> None:
    error = errors.lookup(state)("failed")
    assert is_temporary(error)
    assert isinstance(Database(Settings()).explained(error), Unavailable)


@pytest.mark.parametrize("state", ["22001", "22021", "23502", "54000"])
def test_a_value_that_cannot_be_stored_is_poisoned(state: str) -> None:
    error = errors.lookup(state)("failed")
    assert not is_temporary(error)
    assert isinstance(Database(Settings()).explained(error), Poisoned)


def test_a_wrong_statement_is_not_retried() -> None:
    assert not is_temporary(psycopg.errors.SyntaxError("failed"))
