"""Reads the read models: the checkpoint first, so that the data is never older."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
from elasticsearch import Elasticsearch
from psycopg import sql
from psycopg.rows import dict_row

from projectors.catalog import open_versions
from projectors.contract.read_model import READY, Position
from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.elasticsearch.index.indexes import NOT_GONE, USERS_ALIAS, users_index
from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.topics import HISTORY
from scripts.verify.checks.stores import (
    HistoryChecks,
    Stored,
    Summary,
    check_summary,
    check_visible,
    fold,
    stored,
)
from scripts.verify.documents import KEEP_ALIVE, documents, is_derived
from scripts.verify.facts import Check, Entry
from scripts.verify.other_versions import is_known
from scripts.verify.reader import LogReader

MODELS = ("postgres", "elasticsearch")
_PAGE = 5_000
_ATTEMPTS = 20
# From the table, not from the view, which hides what a marker contains.
_ROWS = """
SELECT user_id::text AS user_id, version, email, name, age, age_group,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_at,
       (extract(epoch FROM updated_at) * 1000)::bigint AS updated_at
FROM {schema}.users"""
_SUMMARY = "SELECT total_users, average_age, users_by_age_group FROM {schema}.user_summary"
_VISIBLE = "SELECT count(*) FROM {schema}.user_views"
_OFFSETS = "SELECT partition, next_offset FROM {schema}.checkpoints"
# The shard is in the 12 bits after the version digit of the id.
_HISTORY_ROWS = """
SELECT user_id::text AS user_id, version, seq, type, command_id, changes,
       (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_at,
       email, email_key, name, age,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_at, created_by{issuer}
FROM {schema}.user_history
WHERE ((get_byte(uuid_send(user_id), 6) & 15) * 256 + get_byte(uuid_send(user_id), 7))
      * %s >> 12 = %s"""
_NO_HISTORY_ROWS = "SELECT * FROM {schema}.user_history LIMIT 0"


@dataclass(slots=True)
class Snapshot:
    """The content of a read model, and the checks that need nothing else."""

    positions: dict[int, Position]
    held: dict[str, Stored]
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A version of a read model that projectors maintain; `version` is None if it never ran."""

    name: str
    version: int | None
    live: bool

    @property
    def label(self) -> str:
        """The name of the read model, with the version's number if it is not the live one."""
        return self.name if self.live or self.version is None else f"{self.name} {self.version}"


def stored_models(settings: Settings, names: Collection[str]) -> list[StoredModel]:
    """Return the versions of these read models that are ready and comparable, live or not."""
    found: list[StoredModel] = []
    for name in names:
        with closing(open_versions(settings, name)) as versions:
            ready = [
                one for one in versions.versions() if one.state == READY and is_known(versions, one)
            ]
        found += [StoredModel(name, v.number, v.live) for v in ready]
        if not ready:
            found.append(StoredModel(name, None, live=False))
    return found


def positions_of(settings: Settings, stored_model: StoredModel) -> dict[int, Position]:
    """Return the checkpoint of a version; empty if there is none."""
    if stored_model.version is None:
        return {}
    with (
        closing(open_versions(settings, stored_model.name)) as versions,
        closing(versions.open(stored_model.version)) as model,
    ):
        return model.checkpoint()


def read_users(settings: Settings, stored_model: StoredModel) -> Snapshot:
    """Return every user that a version of `postgres` or `elasticsearch` holds."""
    read = {"postgres": _read_postgres, "elasticsearch": _read_elasticsearch}[stored_model.name]
    return read(settings, stored_model)


def _read_postgres(settings: Settings, stored_model: StoredModel) -> Snapshot:
    """Return every user, with checks of the summary in the same snapshot."""
    positions = positions_of(settings, stored_model)
    with (
        closing(Database(settings, version=stored_model.version)) as database,
        database.session() as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        with connection.cursor("verify", row_factory=dict_row) as cursor:
            cursor.itersize = _PAGE
            cursor.execute(database.statement(_ROWS))
            held = {row["user_id"]: stored(row) for row in cursor}
        [shown] = connection.execute(database.statement(_SUMMARY)).fetchall()
        [[visible]] = connection.execute(database.statement(_VISIBLE)).fetchall()
    total, average, groups = shown
    summary = Summary(total, None if average is None else float(average), groups)
    label = stored_model.label
    checks = [check_summary(summary, held.values()), check_visible(label, visible, held.values())]
    return Snapshot(positions, held, checks)


def _read_elasticsearch(settings: Settings, stored_model: StoredModel) -> Snapshot:
    """Return every document of one point in time, markers included."""
    positions = positions_of(settings, stored_model)
    index = users_index(settings, stored_model.version or 1)
    # Through the alias where it points to this version, so that its filter is checked too.
    shown = settings.named(USERS_ALIAS) if stored_model.live else index
    with closing(connect(settings)) as client, elasticsearch_available(settings):
        client.indices.refresh(index=index)
        query = None if stored_model.live else NOT_GONE
        visible, point = _count_and_open(client, index, shown, query)
        fields = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]
        held = {
            user_id: stored({**found, "derived": is_derived(user_id, found, fields)})
            for user_id, found in documents(client, point)
        }
    return Snapshot(positions, held, [check_visible(stored_model.label, visible, held.values())])


def _count_and_open(
    client: Elasticsearch, index: str, shown: str, query: dict[str, Any] | None
) -> tuple[int, str]:
    """Return the number of users that queries see, and a point in time with the same content.

    A projector may be writing: if the number changes while the point in time is opened, try again.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        visible = client.count(index=shown, query=query)["count"]
        point: str = client.open_point_in_time(index=index, keep_alive=KEEP_ALIVE)["id"]
        unchanged = client.count(index=shown, query=query)["count"] == visible
        if unchanged or attempt == _ATTEMPTS:
            return visible, point
        client.close_point_in_time(id=point)
    raise AssertionError("the last attempt returns")


def check_history(settings: Settings, reader: LogReader, version: int) -> list[Check]:
    """Check one snapshot of the rows against the log up to that snapshot's checkpoint."""
    checks = HistoryChecks()
    with (
        closing(Database(settings, read_model="history", version=version)) as database,
        database.session() as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        offsets = dict(connection.execute(database.statement(_OFFSETS)).fetchall())
        columns = connection.execute(database.statement(_NO_HISTORY_ROWS)).description or []
        with_issuer = any(column.name == "issued_by" for column in columns)
        issuer = sql.SQL(", issued_by" if with_issuer else "")
        statement = database.statement(_HISTORY_ROWS, issuer=issuer)
        for partition in range(settings.partitions):
            entries = _before(reader.read(HISTORY, partition), offsets.get(partition, 0))
            left = fold(entries, settings.partitions, with_issuer=with_issuer)
            checks.partition(
                left, _history_rows(connection, statement, settings.partitions, partition)
            )
    return [checks.same, checks.erased]


def _before(entries: Iterator[Entry], offset: int) -> Iterator[Entry]:
    # The reader must be read to its end before its consumer can serve the next partition.
    return (entry for entry in entries if entry.offset < offset)


def _history_rows(
    connection: psycopg.Connection[Any], statement: Any, *parameters: int
) -> Iterator[Mapping[str, Any]]:
    with connection.cursor("verify_history", row_factory=dict_row) as cursor:
        cursor.itersize = _PAGE
        cursor.execute(statement, parameters)
        yield from cursor
