"""Every user of one moment as lines of JSON, however many there are, in constant memory.

A cursor of PostgreSQL has the users as they were when it was opened, whatever is written meanwhile.
It is one WITH HOLD: the server puts the result aside (on its disk, about 150 bytes a user) and ends
the transaction. An open one would hold its locks for as long as the slowest reader takes: a
projector that starts would wait to replace its views, and behind it every query.
"""

from collections.abc import Generator
from typing import Any, Final

import orjson

from projectors.log.times import iso_time
from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.rules import AGE_MAX_YEARS

_USERS_A_STEP = 2_000

# In the order of their ids, which is that of their creation: two exports can be compared by line,
# and an import of one creates the oldest first.
_EXPORT: Final = """
SELECT id::text, email, name, age, version, created_at, updated_at FROM {schema}.user_views
WHERE age BETWEEN %s AND %s ORDER BY id"""
_TOTAL: Final = "SELECT total_users FROM {schema}.user_summary"


class UserExport:
    """One export. `exported` tells how many users were given so far."""

    def __init__(
        self, settings: Settings, *, min_age: int = 0, max_age: int = AGE_MAX_YEARS
    ) -> None:
        self.exported = 0
        self._ages = (min_age, max_age)
        self._database = Database(
            settings,
            # All of it will be read: a plan that has its first row soonest is not the one to take.
            options="-c default_transaction_read_only=on -c cursor_tuple_fraction=1.0",
        )

    def total(self) -> int | None:
        """Return about how many users there will be, None if only counting them would tell.

        Raises `Unavailable` as `lines` does.
        """
        if self._ages != (0, AGE_MAX_YEARS):
            return None
        with self._database.session() as connection:
            [[total]] = connection.execute(self._database.statement(_TOTAL)).fetchall()
        return int(total)

    def lines(self) -> Generator[bytes, None, None]:
        """Yield the users, some thousand whole lines at a time.

        Close it if you do not read it to its end. Raises `Unavailable` if PostgreSQL cannot be
        asked (or no longer), with code `read_model_missing` if there is no read model.
        """
        with (
            self._database.session() as connection,
            connection.cursor("export", withhold=True) as cursor,
        ):
            cursor.execute(self._database.statement(_EXPORT), self._ages)
            while rows := cursor.fetchmany(_USERS_A_STEP):
                self.exported += len(rows)
                yield b"".join(map(export_line, rows))

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()


def export_line(row: tuple[Any, ...]) -> bytes:
    """Return a row of the cursor as a line, its times as `rollbook users get` shows them."""
    user_id, email, name, age, version, created_at, updated_at = row
    user = {
        "user_id": user_id,
        "email": email,
        "name": name,
        "age": age,
        "version": version,
        "created_at": iso_time(created_at),
        "updated_at": iso_time(updated_at),
    }
    return orjson.dumps(user, option=orjson.OPT_APPEND_NEWLINE)
