"""What people ask of the PostgreSQL read model."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.errors import Rejected
from schemas.identity import parse_user_id
from schemas.rules import AGE_MAX_YEARS

MOST_PER_PAGE: Final = 10_000

_COLUMNS: Final = (
    "id::text AS user_id, email, name, age, age_group, created_at, updated_at, version"
)
_ONE: Final = "SELECT {columns} FROM {schema}.user_views WHERE id = %s"
_PAGE: Final = """
SELECT {columns} FROM {schema}.user_views
WHERE (age, id) > (%s, %s) AND age <= %s
ORDER BY age, id LIMIT %s"""
_SUMMARY: Final = """
SELECT total_users, average_age::float8 AS average_age, users_by_age_group, last_updated
FROM {schema}.user_summary"""

_CURSOR: Final = struct.Struct(">i16s")
_NOBODY: Final = UUID(int=0)  # before every id
_BEFORE_ALL: Final = (-1, _NOBODY)


@dataclass(frozen=True, slots=True)
class UserView:
    """A user as the read model shows it; times are aware, in UTC."""

    user_id: str
    email: str
    name: str
    age: int
    age_group: str
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def cursor(self) -> str:
        """Where a list goes on after this user."""
        return (
            urlsafe_b64encode(_CURSOR.pack(self.age, UUID(self.user_id).bytes)).decode().rstrip("=")
        )


@dataclass(frozen=True, slots=True)
class UserPage:
    """Users by age, then id; `next` is the cursor of the page after, None after the last."""

    users: list[UserView]
    next: str | None


@dataclass(frozen=True, slots=True)
class UserSummary:
    """All users in four figures; `average_age` and `last_updated` are None where there is none."""

    total_users: int
    average_age: float | None
    users_by_age_group: dict[str, int]
    last_updated: datetime | None


class UserQueries:
    """Questions about users. One connection, opened with the first; not for several threads.

    Every method raises `Unavailable` if PostgreSQL cannot be asked, or, with code
    `read_model_missing`, if no projector has built the read model yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._database = Database(
            settings,
            # A plan that fits any range of ages sorts them all where the asked one needs a page.
            options="-c default_transaction_read_only=on -c plan_cache_mode=force_custom_plan",
        )
        columns = psycopg.sql.SQL(_COLUMNS)
        self._one = self._database.statement(_ONE, columns=columns)
        self._page = self._database.statement(_PAGE, columns=columns)
        self._summary = self._database.statement(_SUMMARY)

    def get_user(self, user_id: str) -> UserView:
        """Return a user.

        Raises `Rejected`: `user_not_found` if there is none, or it is gone, or the read model has
        not come so far; `invalid_command` if the id is no UUID.
        """
        user_id = parse_user_id(user_id)
        with self._cursor(UserView) as cursor:
            user: UserView | None = cursor.execute(self._one, (user_id,)).fetchone()
        if user is None:
            raise Rejected(
                f"there is no user {user_id}",
                code="user_not_found",
                next_step="just created? `rollbook projector status` shows how far the read "
                "model is; `rollbook users search TEXT` finds a user's id",
            )
        return user

    def get_users_by_age_range(
        self,
        min_age: int = 0,
        max_age: int = AGE_MAX_YEARS,
        *,
        limit: int = 100,
        after: str | None = None,
    ) -> UserPage:
        """Return at most `limit` users of these ages, both included, that come after a cursor.

        Paged by key: each page costs the same, however far in the list, and a user that does not
        change its age is never shown twice nor left out. Raises `Rejected` with code
        `invalid_cursor`.
        """
        limit = max(1, min(limit, MOST_PER_PAGE))
        # One lower bound: of two, PostgreSQL may begin at the lesser and scan up to the other.
        age, user_id = max(parse_cursor(after), (min_age, _NOBODY))
        with self._cursor(UserView) as cursor:
            parameters = (age, user_id, max_age, limit + 1)
            users: list[UserView] = cursor.execute(self._page, parameters).fetchall()
        there_are_more = len(users) > limit
        users = users[:limit]
        return UserPage(users, users[-1].cursor if there_are_more else None)

    def get_user_summary(self) -> UserSummary:
        """Return the figures over all users, exact at the moment they are read."""
        with self._cursor(UserSummary) as cursor:
            summary: UserSummary | None = cursor.execute(self._summary).fetchone()
        assert summary is not None  # noqa: S101 - an aggregate without GROUP BY has one row
        return summary

    def close(self) -> None:
        """Let go of the connection."""
        self._database.close()

    @contextmanager
    def _cursor(self, kind: type[Any]) -> Iterator[psycopg.Cursor[Any]]:
        with (
            self._database.session() as connection,
            connection.cursor(row_factory=class_row(kind)) as cursor,
        ):
            yield cursor


def parse_cursor(text: str | None) -> tuple[int, UUID]:
    """Return the key that a cursor stands for. Raises `Rejected` with code `invalid_cursor`."""
    if text is None:
        return _BEFORE_ALL
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        age, user_id = _CURSOR.unpack(urlsafe_b64decode(padded))
    except (ValueError, struct.error):
        raise Rejected(
            "the cursor is none of ours",
            code="invalid_cursor",
            next_step="take it from the page before, or leave it out",
        ) from None
    return age, UUID(bytes=user_id)
