"""Reads the read models: the checkpoint first, so that the data is never older than it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import Elasticsearch
from psycopg.rows import dict_row

from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.elasticsearch.indexes import USERS_ALIAS, USERS_INDEX
from projectors.elasticsearch.writer import ElasticsearchUsers
from projectors.postgres.database import Database
from projectors.postgres.writer import PostgresUsers
from projectors.read_model import Position
from runtime.settings import Settings
from scripts.verify.findings import Check
from scripts.verify.store_checks import Stored, Summary, check_summary, check_visible, stored

_PAGE = 5_000
_KEEP_ALIVE = "5m"
_FIELDS = ["user_id", "email", "name", "age", "age_group", "version", "gone"]

_ROWS = """
SELECT u.user_id::text AS user_id, u.version, v.email, v.name, v.age, v.age_group
FROM {schema}.users u LEFT JOIN {schema}.user_views v ON v.id = u.user_id"""
_SUMMARY = "SELECT total_users, average_age, users_by_age_group FROM {schema}.user_summary"
_VISIBLE = "SELECT count(*) FROM {schema}.user_views"


@dataclass(slots=True)
class Snapshot:
    """What a read model held, and the checks that need nothing but itself."""

    positions: dict[int, Position]
    held: dict[str, Stored]
    checks: list[Check] = field(default_factory=list)


def postgres_positions(settings: Settings) -> dict[int, Position]:
    """Return the checkpoint of the PostgreSQL read model; empty if there is none."""
    model = PostgresUsers(settings)
    try:
        return model.checkpoint()
    finally:
        model.close()


def elasticsearch_positions(settings: Settings) -> dict[int, Position]:
    """Return the checkpoint of the Elasticsearch read model; empty if there is none."""
    model = ElasticsearchUsers(settings)
    try:
        return model.checkpoint()
    finally:
        model.close()


def read_postgres(settings: Settings) -> Snapshot:
    """Return every user, with the summary of the same moment checked."""
    positions = postgres_positions(settings)
    database = Database(settings)
    try:
        with database.session() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            with connection.cursor("verify", row_factory=dict_row) as cursor:
                cursor.itersize = _PAGE
                cursor.execute(database.statement(_ROWS))
                held = {row["user_id"]: stored(row) for row in cursor}
            [shown] = connection.execute(database.statement(_SUMMARY)).fetchall()
            [[visible]] = connection.execute(database.statement(_VISIBLE)).fetchall()
    finally:
        database.close()
    total, average, groups = shown
    summary = Summary(total, None if average is None else float(average), groups)
    return Snapshot(
        positions,
        held,
        [check_summary(summary, held.values()), check_visible("postgres", visible, held.values())],
    )


def read_elasticsearch(settings: Settings) -> Snapshot:
    """Return every document of one point in time, markers included."""
    positions = elasticsearch_positions(settings)
    client = connect(settings)
    try:
        with elasticsearch_available(settings):
            client.indices.refresh(index=settings.named(USERS_INDEX))
            documents = _documents(client, settings.named(USERS_INDEX))
            held = {user_id: stored(document) for user_id, document in documents}
            visible = client.count(index=settings.named(USERS_ALIAS))["count"]
    finally:
        client.close()
    return Snapshot(positions, held, [check_visible("elasticsearch", visible, held.values())])


def _documents(client: Elasticsearch, index: str) -> Iterator[tuple[str, dict[str, Any]]]:
    point = client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE)["id"]
    after = None
    while True:
        answer = client.search(
            pit={"id": point, "keep_alive": _KEEP_ALIVE},
            size=_PAGE,
            sort=[{"_shard_doc": "asc"}],
            search_after=after,
            source_includes=_FIELDS,
            track_total_hits=False,
        )
        hits = answer["hits"]["hits"]
        point = answer["pit_id"]
        if not hits:
            break
        for hit in hits:
            yield hit["_id"], hit["_source"]
        after = hits[-1]["sort"]
    client.close_point_in_time(id=point)


MODELS: dict[
    str, tuple[Callable[[Settings], dict[int, Position]], Callable[[Settings], Snapshot]]
] = {
    "postgres": (postgres_positions, read_postgres),
    "elasticsearch": (elasticsearch_positions, read_elasticsearch),
}
