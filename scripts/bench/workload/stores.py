"""The stores under measurement: an empty table and index like ours, and their removal."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from elasticsearch import Elasticsearch
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from projectors.catalog import open_versions
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import CHECKPOINTS_INDEX, USERS_ALIAS, users_body
from projectors.postgres.store.database import Database
from runtime.settings import Settings

_COUNT: Final = "SELECT count(*) FROM {schema}.users"
_SCHEMAS: Final = (
    "SELECT nspname FROM pg_namespace WHERE nspname = %(home)s OR starts_with(nspname, %(of)s)"
)


@dataclass(frozen=True, slots=True)
class UserTable:
    """The table `users` of the PostgreSQL schema `schema`. Not for several threads.

    `connect` returns another connection to the same server, which the caller closes.
    """

    schema: str
    database: Database
    connect: Callable[[], Database]
    name: str = "users"

    def count(self) -> int:
        """Return how many rows a new transaction sees."""
        with self.database.session() as connection:
            [[rows]] = connection.execute(self.database.statement(_COUNT)).fetchall()
        return int(rows)


@dataclass(frozen=True, slots=True)
class UserIndex:
    """The index `name`, which may be a pattern."""

    name: str
    client: Elasticsearch

    def count(self) -> int:
        """Return how many documents were ever written.

        Unlike a count of the documents it needs no refresh: it is exact at every moment.
        """
        stats = self.client.indices.stats(index=self.name, metric="indexing").body
        return int(stats["_all"].get("primaries", {}).get("indexing", {}).get("index_total", 0))


def postgres_login(settings: Settings) -> dict[str, str]:
    """Return host, port, dbname, user and password, for peers that take no connection string."""
    given = conninfo_to_dict(settings.postgres_url, password=settings.postgres_password or None)
    login = {"host": "localhost", "port": "5432", "dbname": "", "user": "", "password": ""}
    return {name: str(given.get(name, default)) for name, default in login.items()}


@contextmanager
def empty_user_table(settings: Settings) -> Iterator[UserTable]:
    """Yield the table of a new version that no projector writes; drop it after."""
    with closing(open_versions(settings, "postgres")) as versions:
        number = versions.create()
        try:
            versions.finish(number)
            another = partial(Database, settings, version=number)
            with closing(another()) as database:
                yield UserTable(database.schema, database, another)
        finally:
            versions.drop(number)


@contextmanager
def empty_user_index(settings: Settings) -> Iterator[UserIndex]:
    """Yield a new index with our mapping that no projector writes; delete it after."""
    name = f"{settings.named('rollbook-bench')}-{secrets.token_hex(4)}"
    with closing(connect(settings)) as client:
        client.indices.create(index=name, **users_body(settings))
        try:
            yield UserIndex(name, client)
        finally:
            client.indices.delete(index=name)


@contextmanager
def counted(settings: Settings, name: str) -> Iterator[Callable[[], int]]:
    """Yield a function that counts the users in the first version of a read model."""
    if name == "postgres":
        another = partial(Database, settings, version=1)
        with closing(another()) as database:
            yield UserTable(database.schema, database, another).count
    else:
        with closing(connect(settings)) as client:
            yield UserIndex(f"{settings.named(USERS_ALIAS)}-1", client).count


def remove_read_models(settings: Settings) -> None:
    """Remove every version of every read model of the settings' prefix, which must not be empty."""
    assert settings.prefix  # noqa: S101 - never remove what a registry in use has
    with closing(Database(settings)) as database, database.session() as connection:
        names = {"home": database.home, "of": f"{database.home}_"}
        for (name,) in connection.execute(_SCHEMAS, names).fetchall():
            drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name))
            connection.execute(drop)
    with closing(connect(settings)) as client:
        pattern = f"{settings.named(USERS_ALIAS)}-*"
        of_users = client.indices.get(index=pattern, expand_wildcards="all")
        for name in (*of_users, settings.named(CHECKPOINTS_INDEX)):
            client.options(ignore_status=404).indices.delete(index=name)
