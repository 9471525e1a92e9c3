"""Queries of the PostgreSQL read model."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from projectors.log.times import iso_time
from projectors.postgres.store.async_database import AsyncDatabase
from projectors.postgres.store.database import Database, statement_timeout
from projectors.postgres.store.user_view import UserView, user_not_found
from runtime.closing import Closing
from runtime.settings import Settings
from schemas.errors import Rejected
from schemas.fields.rules import AGE_MAX_YEARS, age_bound
from schemas.identity import parse_user_id, uuid_bytes, uuid_text

MOST_PER_PAGE: Final = 10_000

_COLUMNS: Final = (
    "id::text AS user_id, email, name, age, age_group, created_at, updated_at, version"
)
_ONE: Final = "SELECT {columns} FROM {schema}.user_views WHERE id = %s"
_MANY: Final = "SELECT {columns} FROM {schema}.user_views WHERE id = ANY(%s::uuid[])"
_PAGE: Final = """
SELECT {columns} FROM {schema}.user_views
WHERE (age, id) > (%s, %s) AND age <= %s
ORDER BY age, id LIMIT %s"""
_SUMMARY: Final = """
SELECT total_users, average_age::float8 AS average_age, users_by_age_group, last_updated
FROM {schema}.user_summary"""

_CURSOR: Final = struct.Struct(">i16s")
_LOWEST_ID: Final = uuid_text(bytes(16))
_START: Final = (-1, _LOWEST_ID)


@dataclass(frozen=True, slots=True)
class UserPage:
    """Users by age, then id; `next` is the cursor of the next page, None on the last page."""

    users: list[UserView]
    next: str | None


@dataclass(frozen=True, slots=True)
class UserSummary:
    """Figures over all users. Without any, `average_age` and `last_updated` may be None."""

    total_users: int
    average_age: float | None
    users_by_age_group: dict[str, int]
    last_updated: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Return the figures as commands print them and services answer them."""
        last = self.last_updated
        return asdict(self) | {"last_updated": None if last is None else iso_time(last)}


class UserQueries(Closing):
    """Queries of users over one connection, opened on first use. Not thread-safe.

    Every method raises `Unavailable` if PostgreSQL is unavailable, or, with the code
    `read_model_missing`, if no projector has built the read model yet.
    """

    def __init__(self, settings: Settings, *, timeout_seconds: float | None = None) -> None:
        """Connect to nothing yet; a query that takes longer than the timeout is aborted."""
        self._database = Database(
            settings,
            # A generic plan would sort all users of an age range where a page of them is needed.
            session={
                "default_transaction_read_only": "on",
                "plan_cache_mode": "force_custom_plan",
                **statement_timeout(timeout_seconds),
            },
        )
        columns = psycopg.sql.SQL(_COLUMNS)
        self._one = self._database.statement(_ONE, columns=columns)
        self._page = self._database.statement(_PAGE, columns=columns)
        self._summary = self._database.statement(_SUMMARY)

    def get_user(self, user_id: str) -> UserView:
        """Return a user.

        Raises `Rejected`: `user_not_found` if the user does not exist, was deleted, or has not
        reached the read model yet; `invalid_command` if the id is not a UUID.
        """
        user_id = parse_user_id(user_id)
        with self._cursor(UserView) as cursor:
            user: UserView | None = cursor.execute(self._one, (user_id,)).fetchone()
        if user is None:
            raise no_such_user(user_id)
        return user

    def get_users_by_age_range(
        self,
        min_age: int = 0,
        max_age: int = AGE_MAX_YEARS,
        *,
        limit: int = 100,
        after: str | None = None,
    ) -> UserPage:
        """Return at most `limit` users of these ages, inclusive, that come after a cursor.

        Paged by key: every page costs the same, and a user whose age does not change is returned
        exactly once. Raises `Rejected` with code `invalid_cursor`.
        """
        limit = max(1, min(limit, MOST_PER_PAGE))
        # One lower bound: given two, PostgreSQL may start at the lower one and scan to the other.
        age, user_id = max(parse_cursor(after), (min_age, _LOWEST_ID))
        with self._cursor(UserView) as cursor:
            parameters = (age, user_id, age_bound(max_age), limit + 1)
            users: list[UserView] = cursor.execute(self._page, parameters).fetchall()
        following = write_cursor(users[limit - 1]) if len(users) > limit else None
        return UserPage(users[:limit], following)

    def get_user_summary(self) -> UserSummary:
        """Return the figures over all users, exact for the snapshot that is read."""
        with self._cursor(UserSummary) as cursor:
            summary: UserSummary | None = cursor.execute(self._summary).fetchone()
        assert summary is not None  # noqa: S101 - an aggregate without GROUP BY has one row
        return summary

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    @contextmanager
    def _cursor(self, kind: type[Any]) -> Iterator[psycopg.Cursor[Any]]:
        with (
            self._database.session() as connection,
            connection.cursor(row_factory=class_row(kind)) as cursor,
        ):
            yield cursor


class UserGets:
    """Gets of users from an event loop, over one connection; one query at a time."""

    def __init__(self, settings: Settings, *, timeout_seconds: float) -> None:
        """Connect to nothing yet."""
        session = {"default_transaction_read_only": "on", **statement_timeout(timeout_seconds)}
        database = Database(settings, session=session)
        statement = database.statement(_MANY, columns=psycopg.sql.SQL(_COLUMNS))
        self._statement = statement.as_bytes()
        self._database = AsyncDatabase(database, timeout_seconds)

    async def get_users(self, user_ids: Sequence[str]) -> dict[str, UserView]:
        """Return user id → user, of those of the canonical ids that exist.

        Raises as `UserQueries` does, and `Unavailable` (`no_answer`) if it takes too long.
        """
        ids = f"{{{','.join(user_ids)}}}"  # psycopg's own dumper of lists takes 60 µs
        found = await self._database.fetch(UserView, self._statement, (ids,))
        return {user.user_id: user for user in found}

    async def close(self) -> None:
        """Close the connection."""
        await self._database.close()


def no_such_user(user_id: str) -> Rejected:
    """Return the error for a user that the read model does not have."""
    return user_not_found(f"there is no user {user_id}")


def write_cursor(user: UserView) -> str:
    """Return the cursor of the users that follow `user`."""
    packed = _CURSOR.pack(user.age, uuid_bytes(user.user_id))
    return urlsafe_b64encode(packed).decode().rstrip("=")


def parse_cursor(text: str | None) -> tuple[int, str]:
    """Return the age and user id in a cursor. Raises `Rejected` with code `invalid_cursor`."""
    if text is None:
        return _START
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        age, user_id = _CURSOR.unpack(urlsafe_b64decode(padded))
    except (ValueError, struct.error):
        raise Rejected(
            "invalid cursor",
            code="invalid_cursor",
            next_step="copy it from the previous page, or leave it out",
        ) from None
    return age, uuid_text(user_id)
