"""Queries of the audit trail: every event of a user, and the user at a point in time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from psycopg.rows import dict_row

from projectors.history.as_of import as_of_time, as_of_version
from projectors.log.times import iso_time
from projectors.postgres.store.database import Database, statement_timeout
from projectors.postgres.store.user_view import UserView, user_not_found
from runtime.closing import Closing
from runtime.settings import Settings
from schemas.identity import event_id, parse_user_id
from schemas.records import UserEvent, changes_of

# Not simply `issued_by`: until a rebuild, the live version may be one without that column.
_EVENTS: Final = """
SELECT user_id::text AS user_id, version, seq, type, command_id, changes, email, email_key, name,
       age, created_by, to_jsonb(user_history) ->> 'issued_by' AS issued_by,
       (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_ms,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms
FROM {schema}.user_history
WHERE user_id = %s AND """
_FROM_VERSION: Final = _EVENTS + "version >= %s ORDER BY version LIMIT %s"
_AT_VERSION: Final = _EVENTS + "version = %s"
_AT_TIME: Final = _EVENTS + "occurred_at <= %s ORDER BY version DESC LIMIT 1"
_LAST: Final = _EVENTS + "true ORDER BY version DESC LIMIT 1"


class EventStore(Closing):
    """The events of users in the read model `history`, which follows the log.

    One connection, opened on first use. Not thread-safe. Every method raises `Unavailable` if
    PostgreSQL is unavailable, or, with the code `read_model_missing`, if no projector has built the
    read model yet; `Rejected` with code `invalid_command` if an id is not a UUID.
    """

    def __init__(self, settings: Settings, *, timeout_seconds: float | None = None) -> None:
        """Connect to nothing yet; a query that takes longer than the timeout is aborted."""
        session = {"default_transaction_read_only": "on", **statement_timeout(timeout_seconds)}
        self._database = Database(settings, read_model="history", session=session)

    def get_events(
        self, user_id: str, from_version: int = 1, *, limit: int | None = None
    ) -> list[UserEvent]:
        """Return the events of a user in order, from `from_version` (inclusive), at most `limit`.

        An event has its version, time (milliseconds since the epoch), type, command id, who asked
        (None if that is not known) and the state after it; `schemas.records.changes_of` returns
        each changed field before and after. Versions have no gaps. An erased user has the event
        `UserErased` only. The list is empty if the user has no version that high. Raises `Rejected`
        (`user_not_found`) if the user never existed or has not reached the read model yet.
        """
        user_id = parse_user_id(user_id)
        events = self._query(_FROM_VERSION, user_id, from_version, limit)
        if not events:
            self._last(user_id)
        return events

    def get_user_at_version(self, user_id: str, version: int) -> UserView:
        """Return a user as it was at `version`.

        Raises `Rejected`: `user_not_found`; `version_not_found` if it has no such version;
        `user_deleted` if that version deleted it; `user_erased` if its data was erased.
        """
        user_id = parse_user_id(user_id)
        # The last event is read second, so that an erasure between the two reads is noticed.
        found = self._query(_AT_VERSION, user_id, version)
        return as_of_version(version, found[0] if found else None, self._last(user_id))

    def get_user_at(self, user_id: str, time: datetime) -> UserView:
        """Return a user as it was at `time`, an aware datetime.

        Raises `Rejected`: `user_not_found`; `user_not_yet_created` if it was created later;
        `user_deleted` if it was already deleted; `user_erased` if its data was erased.
        """
        user_id = parse_user_id(user_id)
        found = self._query(_AT_TIME, user_id, time)
        return as_of_time(time, found[0] if found else None, self._last(user_id))

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _last(self, user_id: str) -> UserEvent:
        events = self._query(_LAST, user_id)
        if not events:
            raise user_not_found(f"there is no history of user {user_id}")
        return events[0]

    def _query(self, text: Any, *parameters: object) -> list[UserEvent]:
        with (
            self._database.session() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            statement = self._database.statement(text)
            return [event_of(row) for row in cursor.execute(statement, parameters)]


def event_of(row: Mapping[str, Any]) -> UserEvent:
    """Return a row of `user_history` as the event that was on the log."""
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
            # In the order of the fields on the log, which jsonb does not keep.
            "changes": [
                {name: change[name] for name in ("field", "before", "after")}
                for change in row["changes"] or []
            ],
            "user": user,
            "issued_by": row["issued_by"],
        },
    )


def event_fields(event: UserEvent) -> dict[str, Any]:
    """Return an event as `users history --json` prints it and services answer it."""
    return {
        "user_id": event["user_id"],
        "version": event["version"],
        "occurred_at": iso_time(event["occurred_at"]),
        "type": event["type"],
        "command_id": event["command_id"],
        "seq": event["seq"],
        "issued_by": event["issued_by"],
        "changes": changes_of(event),
    }
