"""Removes what a run of its own prefix left in the stores."""

from contextlib import closing

from elasticsearch import Elasticsearch
from psycopg import sql

from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import CHECKPOINTS_INDEX, USERS_ALIAS
from projectors.postgres.store.database import Database
from runtime.settings import Settings

_SCHEMAS = (
    "SELECT nspname FROM pg_namespace WHERE nspname = %(home)s OR starts_with(nspname, %(of)s)"
)


def remove_read_models(settings: Settings) -> None:
    """Remove every version of every read model of the settings' prefix, which must not be empty."""
    assert settings.prefix  # noqa: S101 - of somebody's registry nothing is removed
    with closing(Database(settings)) as database, database.session() as connection:
        names = {"home": database.home, "of": f"{database.home}_"}
        for (name,) in connection.execute(_SCHEMAS, names).fetchall():
            drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name))
            connection.execute(drop)
    with closing(connect(settings)) as client:
        _remove_indexes(client, settings)


def _remove_indexes(client: Elasticsearch, settings: Settings) -> None:
    of_users = client.indices.get(index=f"{settings.named(USERS_ALIAS)}-*", expand_wildcards="all")
    for name in (*of_users, settings.named(CHECKPOINTS_INDEX)):
        client.options(ignore_status=404).indices.delete(index=name)
