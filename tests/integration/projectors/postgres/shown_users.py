"""What readers ask of the read model in PostgreSQL while its versions change, and who is in it."""

from contextlib import closing

from projectors.postgres.store.database import Database
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.writer import postgres_versions
from projectors.promises.events import user_event, user_id
from runtime.settings import Settings
from schemas.records import UserEvent
from tests.processes import eventually
from tests.read_models import Held
from tests.readers import Question, Seen

USERS = 120


def batch(version: int) -> list[UserEvent]:
    """Return events that bring every user to `version`; their ages change with it."""
    return [user_event(n, version, age=(n + version) % 100) for n in range(USERS)]


def gets(settings: Settings) -> Question:
    """Ask for one user after the other; none may be missing."""
    queries = UserQueries(settings)
    numbers = iter(range(10**9))

    def ask() -> Seen:
        asked = user_id(next(numbers) % USERS)
        return {asked: queries.get_user(asked).version}

    return ask, queries.close


def lists(settings: Settings) -> Question:
    """Ask for a page with all of them; nobody may be missing."""
    queries = UserQueries(settings)

    def ask() -> Seen:
        users = queries.get_users_by_age_range(limit=1000).users
        assert len(users) == USERS
        return {user.user_id: user.version for user in users}

    return ask, queries.close


def sums(settings: Settings) -> Question:
    """Ask for the summary."""
    queries = UserQueries(settings)

    def ask() -> Seen:
        summary = queries.get_user_summary()
        assert summary.total_users == sum(summary.users_by_age_group.values()) == USERS
        assert summary.last_updated is not None
        return {"last updated": int(summary.last_updated.timestamp() * 1000)}

    return ask, queries.close


def prepared(settings: Settings) -> Question:
    """Ask as a stranger does: all columns, prepared once on the server."""
    database = Database(settings)
    statement = database.statement("SELECT * FROM {schema}.user_views")

    def ask() -> Seen:
        with database.session() as connection:
            rows = connection.execute(statement, prepare=True).fetchall()
        assert len(rows) == USERS
        return {str(row[0]): row[7] for row in rows}

    return ask, database.close


def live(versions: PostgresVersions) -> list[int]:
    """Return the numbers of the versions that are live."""
    return [version.number for version in versions.versions() if version.live]


def built(versions: PostgresVersions, settings: Settings) -> int:
    """Make another version that is ready, with everybody in it."""
    number = versions.create()
    with Held(postgres_versions(settings), number) as held:
        held.write(*batch(1))
    versions.finish(number)
    versions.accept(number)
    return number


def swap_to(versions: PostgresVersions, number: int) -> None:
    """Swap once version `number` has come to where the live one is held."""
    [live] = [version.number for version in versions.versions() if version.live]
    versions.swap(number, lambda: await_version(versions, number, live))


def await_version(versions: PostgresVersions, number: int, other: int) -> None:
    """Wait until one version is where the other is now."""
    with closing(versions.open(number)) as model, closing(versions.open(other)) as held:
        reached = held.checkpoint()[0].next_offset

        def caught_up() -> bool:
            position = model.checkpoint().get(0)
            return position is not None and position.next_offset >= reached

        eventually(caught_up, what="caught up")
