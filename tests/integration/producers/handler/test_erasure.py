"""After an erasure nothing of the person is left in the broker's files, PostgreSQL or the index.

The topics' segments live a second instead of hours or days and are not compressed, so that the
files themselves can be searched.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from psycopg import sql

from producers.client.command_client import CommandClient
from projectors.catalog import OURS, open_versions
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import USERS_ALIAS, users_index
from projectors.postgres.store.database import Database
from projectors.versions.leftovers import RemovesLeftovers
from runtime.settings import Settings
from schemas.identity import SHARDS, new_user_id, partition_of
from schemas.topics import TOPICS
from scripts.stack.native.local import LocalStack
from scripts.stack.record import servers_data
from tests.depth import depth
from tests.observed.catch_up import wait_caught_up
from tests.observed.log import alter_topics, send
from tests.samples.given import address_in, create, update
from tests.started.processes import Rollbook, eventually

# Part of every e-mail address and name of the person to erase, and of nothing else.
MARK = "zaphod"


def shorten(settings: Settings) -> None:
    """Shorten the life of the topics' segments; a handler reads these settings when it starts."""
    alter_topics(
        settings,
        TOPICS,
        segment_ms="1000",
        retention_ms="1000",
        max_compaction_lag_ms="1000",
        file_delete_delay_ms="0",
        compression_type="uncompressed",
    )


def marked_files(stack: LocalStack, settings: Settings) -> set[str]:
    """Return the topics that have the mark in a file on the broker's disk, in any case."""
    logs = servers_data(stack.directory) / "kafka" / "log"
    return {
        topic.name
        for topic in TOPICS
        for file in logs.glob(f"{settings.named(topic.name)}-*/*.log")
        if MARK.encode() in read(file).lower()
    }


def marked_store_files(stack: LocalStack, settings: Settings) -> set[str]:
    """Return the tables, table indexes and search indexes that have the mark in a file on disk."""
    data = servers_data(stack.directory)
    with closing(Database(settings)) as database, database.session() as connection:
        connection.execute("CHECKPOINT")
        found = connection.execute(
            """
            SELECT relname, pg_relation_filepath(c.oid) FROM pg_class c
            JOIN pg_namespace n ON n.oid = relnamespace
            WHERE starts_with(nspname, %s) AND relkind IN ('r', 'i')""",
            [database.home],
        ).fetchall()
    [base] = (data / "postgres").rglob("base")
    files = [(name, base.parent / path) for name, path in found]
    with closing(connect(settings)) as client:
        indexes = client.indices.get_settings(index=f"{settings.named(USERS_ALIAS)}-*").body
    for name, index in indexes.items():
        folder = f"{index['settings']['index']['uuid']}/**/*"
        files += [(name, file) for file in (data / "elasticsearch").rglob(folder)]
    return {name for name, file in files if MARK.encode() in read(file).lower()}


def stores_are_clean(stack: LocalStack, settings: Settings) -> bool:
    """Do at once what projectors do at most hourly; return whether no file has the mark."""
    for model in OURS:
        with closing(open_versions(settings, model)) as versions:
            assert isinstance(versions, RemovesLeftovers)
            for version in versions.versions():
                versions.remove_leftovers(version.number, settled_seconds=0)
    return not marked_store_files(stack, settings)


def read(file: Path) -> bytes:
    """Return a file's bytes; none if the broker has just removed it."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return b""


def marked_rows(settings: Settings) -> set[str]:
    """Return the tables, of every version, that have the mark in a row."""
    found = set()
    with closing(Database(settings)) as database, database.session() as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE starts_with(schemaname, %s)",
            [database.home],
        ).fetchall()
        for place in tables:
            query = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text ILIKE {}").format(
                sql.Identifier(*place), sql.Literal(f"%{MARK}%")
            )
            [[count]] = connection.execute(query).fetchall()
            if count:
                found.add(".".join(place).removeprefix(f"{database.home}_"))
    return found


def is_indexed(settings: Settings) -> bool:
    """Return whether any document in our indexes contains the mark."""
    client = connect(settings)
    client.indices.refresh(index=f"{settings.prefix}-*")
    hits = client.search(index=f"{settings.prefix}-*", size=1000)["hits"]["hits"]
    assert hits
    return MARK in json.dumps([hit["_source"] for hit in hits]).lower()


@contextmanager
def traffic(settings: Settings, *, busy: bool) -> Iterator[None]:
    """If `busy`, send a creation and a command that is rejected to every partition all the time.

    So no partition is idle, but nothing is appended to `user-emails`; to partition 0, in which the
    erased user lived, no event either.
    """
    shards = {partition_of(shard, settings.partitions): shard for shard in range(SHARDS)}
    unknown_ids = [new_user_id(shard, 1, 1) for shard in shards.values()]
    stop = threading.Event()

    def run() -> None:
        for n in count():
            rejected = [update(one, age=1, command_id=f"{n}-{one}") for one in unknown_ids]
            created = [create(address_in(p, f"busy{n}x"), command_id=f"{n}-{p}") for p in (1, 2)]
            send(settings, rejected + created)
            if stop.wait(0.3):
                return

    thread = threading.Thread(target=run)
    if busy:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if busy:
            thread.join()


@pytest.mark.parametrize("busy", depth([True], [True, False]))
def test_nothing_of_an_erased_user_is_left(
    stack: LocalStack,
    settings: Settings,
    rollbook: Rollbook,
    monkeypatch: pytest.MonkeyPatch,
    *,
    busy: bool,
) -> None:
    """Of a user with addresses in three partitions, in every topic and version of the models."""
    shorten(settings)
    user_index = users_index(settings, 1)
    # Another test's transaction may keep a deleted row alive, so once is not enough.
    monkeypatch.setattr("projectors.postgres.store.leftovers.ONCE_IN_SECONDS", 0)
    rollbook.start_handler()
    for model in OURS:
        rollbook.start_projector(model)
    with CommandClient(settings) as client:
        stays = client.create_user("stays@example.com", "Jane", 33)
        made = client.create_user(address_in(0, f"{MARK}.one"), f"{MARK} B", 42)
        assert made.user_id
        assert stays.user_id
        for partition in (1, 2):
            address = address_in(partition, f"{MARK}.{partition}.")
            assert client.change_email(made.user_id, address).status == "accepted"
        assert client.update_user(made.user_id, name=f"{MARK} C").status == "accepted"
        wait_caught_up(settings)
        assert {"user-events", "user-history", "user-emails"} <= marked_files(stack, settings)
        for model in OURS:  # a second version of each, kept beside the first
            assert rollbook.json("projector", "rebuild", model)["version"] == 2
        assert marked_rows(settings) == {
            *("postgres_1.users", "postgres_2.users"),
            *("history_1.user_history", "history_2.user_history"),
        }
        assert is_indexed(settings)
        stored = marked_store_files(stack, settings)
        assert {"users", "user_history", user_index} <= stored
        with traffic(settings, busy=busy):
            erased = client.erase_user(made.user_id)
            assert (erased.status, erased.version) == ("accepted", 5)
            wait_caught_up(settings)
            assert marked_rows(settings) == set()
            assert not is_indexed(settings)
            eventually(lambda: not marked_files(stack, settings), 90, "every file is cleaned")
    # A shard's retention lease passes a deleted document within half a minute.
    eventually(lambda: stores_are_clean(stack, settings), 90, "the stores' files are cleaned")
    assert rollbook.json("users", "get", stays.user_id)["name"] == "Jane"
    [marker] = rollbook.run("users", "history", made.user_id, "--json").stdout.splitlines()
    assert json.loads(marker)["type"] == "UserErased"
