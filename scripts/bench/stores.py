"""Removes the read models of a registry that was made for a measurement or a test."""

from contextlib import closing

from projectors.elasticsearch.client import connect
from projectors.elasticsearch.indexes import CHECKPOINTS_INDEX, USERS_INDEX
from projectors.postgres.database import Database
from runtime.settings import Settings


def remove_read_models(settings: Settings) -> None:
    """Drop the PostgreSQL schema and the Elasticsearch indexes; the projectors must have ended."""
    with closing(Database(settings)) as database, database.session() as connection:
        connection.execute(database.statement("DROP SCHEMA IF EXISTS {schema} CASCADE"))
    with closing(connect(settings)) as client:
        for index in (USERS_INDEX, CHECKPOINTS_INDEX):
            client.options(ignore_status=404).indices.delete(index=settings.named(index))
