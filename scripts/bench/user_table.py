"""An empty table of users, with the columns, key and indexes of ours, for whoever is measured."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

from projectors.catalog import open_versions
from projectors.postgres.store.database import Database
from runtime.settings import Settings

_COUNT: Final = "SELECT count(*) FROM {schema}.users"


@dataclass(frozen=True, slots=True)
class UserTable:
    """The table `users` of the PostgreSQL schema `schema`. Not for several threads."""

    schema: str
    database: Database
    name: str = "users"

    def count(self) -> int:
        """Return how many rows a new transaction sees."""
        with self.database.session() as connection:
            [[rows]] = connection.execute(self.database.statement(_COUNT)).fetchall()
        return int(rows)


@contextmanager
def empty_user_table(settings: Settings) -> Iterator[UserTable]:
    """Give the table of a new version of the read model that no projector writes; it goes after."""
    with closing(open_versions(settings, "postgres")) as versions:
        number = versions.create()
        try:
            versions.finish(number)
            with closing(Database(settings, version=number)) as database:
                yield UserTable(database.schema, database)
        finally:
            versions.drop(number)
