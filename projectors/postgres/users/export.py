"""All users of one consistent snapshot as lines of JSON, in bounded memory.

Users who were deleted or erased after the snapshot are left out, up to the moment when their lines
are passed on: a slow reader may need hours, and an erased user must not be shown.

A cursor in PostgreSQL keeps the users as they were when it was opened. Ours is declared WITH HOLD:
the server stores the result on its disk (about 150 bytes per user) and ends the transaction. An
open transaction would keep its locks until the slowest reader has finished; a swap would wait to
replace the views, and every query would queue behind it.
"""

from collections.abc import Generator
from typing import Any, Final

import orjson

from projectors.log.times import iso_time
from projectors.postgres.store.database import Database
from runtime.closing import Closing
from runtime.settings import Settings
from schemas.fields.rules import AGE_MAX_YEARS, age_bound

_USERS_PER_FETCH = 2_000

# In order of ids, which is the order of creation: two exports can be compared line by line, and
# importing one creates the oldest user first.
_EXPORT: Final = """
SELECT id::text, email, name, age, version, created_at, updated_at FROM {schema}.user_views
WHERE age BETWEEN %s AND %s ORDER BY id"""
_STILL_THERE: Final = "SELECT id::text FROM {schema}.user_views WHERE id = ANY(%s::uuid[])"
_TOTAL: Final = "SELECT total_users FROM {schema}.user_summary"


class UserExport(Closing):
    """One export; `exported` is the number of users so far."""

    def __init__(
        self, settings: Settings, *, min_age: int = 0, max_age: int = AGE_MAX_YEARS
    ) -> None:
        self.exported = 0
        self._ages = (min_age, age_bound(max_age))
        self._database = Database(
            settings,
            # All rows will be read: plan for the last row, not for the first.
            session={"default_transaction_read_only": "on", "cursor_tuple_fraction": "1.0"},
        )

    def total(self) -> int | None:
        """Return about how many users there will be, or None if that is not known without a scan.

        Raises `Unavailable` as `lines` does.
        """
        if self._ages != (0, age_bound(AGE_MAX_YEARS)):
            return None
        with self._database.session() as connection:
            [[total]] = connection.execute(self._database.statement(_TOTAL)).fetchall()
        return int(total)

    def lines(self) -> Generator[bytes, None, None]:
        """Yield the users, some thousand whole lines at a time.

        Close the generator if you do not exhaust it. Raises `Unavailable` if PostgreSQL is or
        becomes unavailable, with code `read_model_missing` if the read model does not exist.
        """
        with (
            self._database.session() as connection,
            connection.cursor("export", withhold=True) as cursor,
        ):
            cursor.execute(self._database.statement(_EXPORT), self._ages)
            while rows := cursor.fetchmany(_USERS_PER_FETCH):
                ids = [row[0] for row in rows]
                found = connection.execute(self._database.statement(_STILL_THERE), [ids])
                still_there = {user_id for (user_id,) in found}
                rows = [row for row in rows if row[0] in still_there]
                self.exported += len(rows)
                yield b"".join(map(export_line, rows))

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


def export_line(row: tuple[Any, ...]) -> bytes:
    """Return a row of the cursor as a line, with times in the format of `rollbook users get`."""
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
