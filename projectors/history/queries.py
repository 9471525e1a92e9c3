"""What people ask of the audit trail: everything that happened to a user, and how it was then."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from psycopg.rows import dict_row

from projectors.history.as_of import as_of_time, as_of_version
from projectors.postgres.store.database import Database
from projectors.postgres.users.queries import UserView
from runtime.settings import Settings
from schemas.errors import Rejected
from schemas.identity import event_id, parse_user_id
from schemas.records import UserEvent

_EVENTS: Final = """
SELECT user_id::text AS user_id, version, seq, type, command_id, changes, email, email_key, name,
       age, created_by,
       (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_ms,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms
FROM {schema}.user_history
WHERE user_id = %s AND """
_FROM_VERSION: Final = _EVENTS + "version >= %s ORDER BY version"
_AT_VERSION: Final = _EVENTS + "version = %s"
_AT_TIME: Final = _EVENTS + "occurred_at <= %s ORDER BY version DESC LIMIT 1"
_LAST: Final = _EVENTS + "true ORDER BY version DESC LIMIT 1"


class EventStore:
    """The events of users as the read model `history` has them, which follows the log.

    One connection, opened with the first question; not for several threads. Every method raises
    `Unavailable` if PostgreSQL cannot be asked, or, with code `read_model_missing`, if no projector
    has built the read model yet; `Rejected` with code `invalid_command` if an id is no UUID.
    """

    def __init__(self, settings: Settings) -> None:
        self._database = Database(
            settings, read_model="history", options="-c default_transaction_read_only=on"
        )

    def get_events(self, user_id: str, from_version: int = 1) -> list[UserEvent]:
        """Return what happened to a user, oldest first, from `from_version` on (included).

        Each event has its version, time (milliseconds since the epoch), type, command id and the
        state after it; `schemas.records.changes_of` tells each field before and after. Versions
        have no gap. Of an erased user there is the `UserErased` event alone. The list is empty if
        the user has not come to `from_version`. Raises `Rejected` (`user_not_found`) if
        there never was such a user, or the read model has not come so far.
        """
        user_id = parse_user_id(user_id)
        events = self._ask(_FROM_VERSION, user_id, from_version)
        if not events:
            self._last(user_id)
        return events

    def get_user_at_version(self, user_id: str, version: int) -> UserView:
        """Return a user as it was at `version`.

        Raises `Rejected`: `user_not_found`; `version_not_found` if it has no such version;
        `user_deleted` if it was gone by then; `user_erased` if nothing of it is kept.
        """
        user_id = parse_user_id(user_id)
        # What is asked for first, the last event after: an erasure between the two is seen.
        found = self._ask(_AT_VERSION, user_id, version)
        return as_of_version(version, found[0] if found else None, self._last(user_id))

    def get_user_at(self, user_id: str, time: datetime) -> UserView:
        """Return a user as it was at `time`, which must be aware.

        Raises `Rejected`: `user_not_found`; `user_not_yet_created` if it was created later;
        `user_deleted` if it was gone by then; `user_erased` if nothing of it is kept.
        """
        user_id = parse_user_id(user_id)
        found = self._ask(_AT_TIME, user_id, time)
        return as_of_time(time, found[0] if found else None, self._last(user_id))

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()

    def _last(self, user_id: str) -> UserEvent:
        events = self._ask(_LAST, user_id)
        if not events:
            raise Rejected(
                f"the history knows no user {user_id}",
                code="user_not_found",
                next_step="just created? `rollbook projector status` shows how far the read "
                "model is; `rollbook users search TEXT` finds a user's id",
            )
        return events[0]

    def _ask(self, text: Any, *parameters: object) -> list[UserEvent]:
        with (
            self._database.session() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            statement = self._database.statement(text)
            return [event_of(row) for row in cursor.execute(statement, parameters)]


def event_of(row: Mapping[str, Any]) -> UserEvent:
    """Return the event that a row of `user_history` is, as it stood on the log."""
    user = None
    if row["age"] is not None:
        user = {name: row[name] for name in ("email", "email_key", "name", "age")}
        user |= {"created_at": row["created_ms"], "created_by": row["created_by"]}
    return cast(
        "UserEvent",
        {
            "event_id": event_id(row["user_id"], row["version"]),
            **{name: row[name] for name in ("command_id", "seq", "user_id", "version")},
            "occurred_at": row["occurred_ms"],
            "type": row["type"],
            # In the order of the log's record, which PostgreSQL does not keep.
            "changes": [
                {name: change[name] for name in ("field", "before", "after")}
                for change in row["changes"] or []
            ],
            "user": user,
        },
    )
