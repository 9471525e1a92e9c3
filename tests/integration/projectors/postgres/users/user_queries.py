"""Queries of users that must stay consistent while versions change."""

from contextlib import closing
from typing import Any

from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.queries import UserQueries
from projectors.promises.events import user_event, user_id
from runtime.settings import Settings
from schemas.records import UserEvent
from tests.observed.read_models import live_versions
from tests.observed.readers import Query, Seen
from tests.started.processes import eventually

USERS = 120

# The figures of the summary, each followed by its recount; then two about its time. One statement
# reads one snapshot, even under READ COMMITTED.
RECOUNTED = """
SELECT s.total_users, r.total, s.average_age, r.average, s.users_by_age_group::jsonb,
       jsonb_build_object('teen', r.teens, 'adult', r.adults, 'senior', r.seniors),
       coalesce(r.updated <= s.last_updated, r.updated IS NULL),
       (extract(epoch FROM s.last_updated) * 1000)::bigint
FROM {schema}.user_summary s, (
    SELECT count(*) AS total, avg(age) AS average, max(updated_at) AS updated,
           count(*) FILTER (WHERE age < 20) AS teens,
           count(*) FILTER (WHERE age BETWEEN 20 AND 64) AS adults,
           count(*) FILTER (WHERE age > 64) AS seniors
    FROM {schema}.user_views
) r"""


def assert_exact(row: tuple[Any, ...]) -> Seen:
    """Fail unless a row of `RECOUNTED` agrees with itself; return the time of the summary."""
    *figures, covers_all_users, last_updated = row
    assert figures[0::2] == figures[1::2], figures
    assert covers_all_users
    return {"last updated": last_updated or 0}


def batch(version: int) -> list[UserEvent]:
    """Return events that bring every user to `version`; their ages change with it."""
    return [user_event(n, version, age=(n + version) % 100) for n in range(USERS)]


def gets(settings: Settings) -> Query:
    """Get one user after the other; none may be missing."""
    queries = UserQueries(settings)
    numbers = iter(range(10**9))

    def ask() -> Seen:
        asked = user_id(next(numbers) % USERS)
        return {asked: queries.get_user(asked).version}

    return ask, queries.close


def lists(settings: Settings) -> Query:
    """List all users on one page; none may be missing."""
    queries = UserQueries(settings)

    def ask() -> Seen:
        users = queries.get_users_by_age_range(limit=1000).users
        assert len(users) == USERS
        return {user.user_id: user.version for user in users}

    return ask, queries.close


def summarises(settings: Settings) -> Query:
    """Get the summary."""
    queries = UserQueries(settings)

    def ask() -> Seen:
        summary = queries.get_user_summary()
        assert summary.total_users == sum(summary.users_by_age_group.values()) == USERS
        assert summary.last_updated is not None
        return {"last updated": int(summary.last_updated.timestamp() * 1000)}

    return ask, queries.close


def recounts(settings: Settings) -> Query:
    """Compare the summary with a recount of the same snapshot."""
    database = Database(settings)
    statement = database.statement(RECOUNTED)

    def ask() -> Seen:
        with database.session() as connection:
            [row] = connection.execute(statement).fetchall()
        return assert_exact(row)

    return ask, database.close


def selects_all_columns(settings: Settings) -> Query:
    """Select all columns by a statement that is prepared once on the server."""
    database = Database(settings)
    statement = database.statement("SELECT * FROM {schema}.user_views")

    def ask() -> Seen:
        with database.session() as connection:
            rows = connection.execute(statement, prepare=True).fetchall()
        assert len(rows) == USERS
        return {str(row[0]): row[7] for row in rows}

    return ask, database.close


def swap_to(versions: PostgresVersions, number: int) -> None:
    """Swap once version `number` has reached the position of the live version."""
    [live] = live_versions(versions)
    versions.swap(number, lambda: await_position(versions, number, live))


def await_position(versions: PostgresVersions, number: int, other: int) -> None:
    """Wait until one version reaches the current position of another."""
    with closing(versions.open(number)) as model, closing(versions.open(other)) as goal:
        reached = goal.checkpoint()[0].next_offset

        def caught_up() -> bool:
            position = model.checkpoint().get(0)
            return position is not None and position.next_offset >= reached

        eventually(caught_up, what="caught up")
