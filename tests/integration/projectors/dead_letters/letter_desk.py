"""Reads and retries dead letters, and changes what the PostgreSQL read model accepts."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, LiteralString

from psycopg import sql

from projectors.dead_letters.reader import read_letters
from projectors.postgres.store.database import Database
from projectors.postgres.users.queries import UserQueries
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import Poisoned, Rejected, Unavailable
from schemas.letters import Letter, letter_key, letter_of
from schemas.topics import DEAD_LETTERS
from tests.integration.foreign import SECRET, ForeignWriter, forged
from tests.started.processes import Rollbook, eventually

REFUSE: LiteralString = "ALTER TABLE {schema}.users ADD CONSTRAINT no_41 CHECK (age <> 41)"
ACCEPT: LiteralString = "ALTER TABLE {schema}.users DROP CONSTRAINT no_41"


def letters(settings: Settings) -> list[Letter]:
    return [letter for letter in read_letters(settings).letters if letter.is_open]


def place_of(where: tuple[str, int, int]) -> str:
    """Return the name of the letter about a place."""
    return ":".join(map(str, where))


def lines(rollbook: Rollbook, *arguments: str, code: int = 0) -> list[Any]:
    """Run a command of `dead-letters`, which must end with `code`; return its objects."""
    done = rollbook.run("dead-letters", *arguments, "--json")
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert SECRET not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def results(rollbook: Rollbook, *arguments: str, code: int = 0) -> list[str]:
    """Run a retry; return the result of each letter."""
    return [line["result"] for line in lines(rollbook, "retry", *arguments, code=code)]


def running_writer(settings: Settings) -> ForeignWriter:
    """Return a writer, one of whose events the projector of PostgreSQL has applied."""
    foreign_writer = ForeignWriter(settings)
    first, home = forged(settings, "first")
    foreign_writer.put_event(first, home)
    eventually(lambda: age_of(settings, first["user_id"]), what="the first")
    return foreign_writer


def run_sql(settings: Settings, version: int, text: LiteralString) -> list[tuple[Any, ...]]:
    """Run a statement on the tables of a version."""
    with (
        closing(Database(settings, read_model="postgres", version=version)) as database,
        database.session() as connection,
    ):
        cursor = connection.execute(database.statement(text))
        return cursor.fetchall() if cursor.description else []


_GATE: LiteralString = """
    CREATE TABLE {schema}.gate ();
    CREATE FUNCTION {schema}.pass_gate() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN LOCK TABLE {schema}.gate IN ACCESS SHARE MODE; RETURN NEW; END $$;
"""
_GUARD: LiteralString = """
    CREATE TRIGGER gate BEFORE INSERT ON {{schema}}.users FOR EACH ROW
        WHEN (NEW.user_id = {user}) EXECUTE FUNCTION {{schema}}.pass_gate()
"""
_WAITING: LiteralString = """
    SELECT pid FROM pg_locks WHERE relation = '{schema}.gate'::regclass AND NOT granted
"""


@contextmanager
def held_up_at(settings: Settings, user_id: str) -> Iterator[Callable[[], bool]]:
    """Hold up whoever writes this user to version 1; yield whether somebody waits."""
    run_sql(settings, 1, _GATE)
    run_sql(settings, 1, sql.SQL(_GUARD).format(user=sql.Literal(user_id)).as_string())
    with (
        closing(Database(settings, read_model="postgres", version=1)) as database,
        database.session() as connection,
        connection.transaction(),
    ):
        connection.execute(database.statement("LOCK TABLE {schema}.gate"))
        yield lambda: bool(run_sql(settings, 1, _WAITING))


def ages(settings: Settings, version: int, user_id: str) -> list[tuple[Any, ...]]:
    text = sql.SQL("SELECT age FROM {{schema}}.users WHERE user_id = {}")
    return run_sql(settings, version, text.format(sql.Literal(user_id)).as_string())


def age_of(settings: Settings, user_id: str) -> int | None:
    """Return a user's age as a query returns it, None if there is no such user."""
    with closing(UserQueries(settings)) as queries:
        try:
            return queries.get_user(user_id).age
        except (Rejected, Unavailable):  # there may be no read model either
            return None


def forge_letter(settings: Settings, where: tuple[str, int, int], reader: str, **more: Any) -> str:
    """Write a letter about a place; return its key."""
    poison = Poisoned("", code=more.get("error", "forged"))
    letter = letter_of(*where, reader=reader, poison=poison, now=more.get("occurred_at", 1))
    value = Registry(settings).codec(DEAD_LETTERS.schema).encode(letter)
    key: str = more.get("key", letter_key(letter))
    ForeignWriter(settings).put(DEAD_LETTERS, value, key.encode())
    return key
