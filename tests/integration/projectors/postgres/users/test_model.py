"""The PostgreSQL read model without a log: its queries, and more than all models promise."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Batch, Position
from projectors.postgres.store import leftovers
from projectors.postgres.store.copy_rows import copy_rows
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.writer import _COPY, pack_user, postgres_versions
from projectors.promises.events import NOW, user_event, user_id
from runtime.settings import Settings
from schemas.errors import Poisoned, Unavailable
from schemas.identity import partition_of, user_shard
from tests.integration.projectors.postgres.users.user_queries import RECOUNTED, USERS, assert_exact
from tests.observed.read_models import OpenVersion
from tests.started.processes import eventually

_LATEST_UPDATE = """
SELECT s.last_updated IS NOT DISTINCT FROM (SELECT max(updated_at) FROM {schema}.users)
FROM {schema}.user_summary s"""
_CREATE_WORD_INDEX = """
CREATE INDEX users_words ON {schema}.users
USING gin (to_tsvector('simple', name || ' ' || email))"""
_WORDS_ON_DISK = """
SELECT position('unmistakable'::bytea IN
                pg_read_binary_file(pg_relation_filepath('{schema}.users_words'))) > 0"""


def assert_summary_is_exact(opened: OpenVersion) -> None:
    """Fail unless the summary equals a recount, its time that of the last event."""
    assert_exact(opened.rows(RECOUNTED)[0])
    assert opened.rows(_LATEST_UPDATE) == [(True,)]


@pytest.fixture
def queries(settings: Settings) -> Iterator[UserQueries]:
    with closing(UserQueries(settings)) as queries:
        yield queries


def test_a_user_has_the_state_of_its_last_event(opened: OpenVersion, queries: UserQueries) -> None:
    first = user_event(1, name="Zoë Ωmega", age=19)
    opened.write(first)
    shown = queries.get_user(first["user_id"].upper())
    assert (shown.name, shown.age, shown.age_group, shown.version) == ("Zoë Ωmega", 19, "teen", 1)
    assert shown.created_at.timestamp() * 1000 == NOW + 1
    assert shown.updated_at.timestamp() * 1000 == first["occurred_at"]
    opened.write(user_event(1, 2, age=65))
    assert queries.get_user(first["user_id"]).age_group == "senior"


def test_the_summary_equals_a_recount_after_every_batch(opened: OpenVersion) -> None:
    chance = random.Random(7)
    assert_summary_is_exact(opened)
    for _ in range(40):
        batch = {}
        for _ in range(chance.randint(1, 50)):
            number = chance.randint(1, 60)
            gone = chance.random() < 0.2
            batch[number] = user_event(
                number, chance.randint(1, 30), age=chance.randint(0, 150), gone=gone
            )
        opened.write(*batch.values())
        assert_summary_is_exact(opened)


def test_the_summary_is_exact_while_all_first_events_are_of_new_users(opened: OpenVersion) -> None:
    """As on a log, where users are inserted; with updates and deletions in the same batches."""
    chance = random.Random(11)
    latest: dict[int, int] = {}
    for _ in range(30):
        known = [chance.randrange(len(latest)) for _ in range(20)] if latest else []
        numbers = {*known, *range(len(latest), len(latest) + chance.randint(0, 5))}
        latest |= {number: latest.get(number, 0) + 1 for number in numbers}
        batch = [
            user_event(n, latest[n], age=chance.randint(0, 150), gone=0 < n % 7 == latest[n] - 1)
            for n in numbers
        ]
        opened.write(*batch)
        assert_summary_is_exact(opened)
    stored: Any = opened.model
    assert stored._expects_new
    rows = opened.rows("SELECT user_id::text, version FROM {schema}.users")
    assert dict(rows) == {user_id(n): version for n, version in latest.items()}


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "building"])
def test_a_first_event_may_find_its_user_there(
    versions: PostgresVersions, *, finished: bool
) -> None:
    """New users are inserted without looking for them, until one was there; nothing is lost."""
    number = 1 if finished else versions.create()
    with OpenVersion(versions, number) as opened:
        opened.write(user_event(1, 3), user_event(2))
        for others in ((3, 4), (5, 6)):  # the first batch that finds one, and a later one
            opened.write(user_event(1), *map(user_event, others), user_event(2, 2))
        opened.write(user_event(7), user_event(3, gone=True, version=2))
        stored = dict(opened.rows("SELECT user_id::text, version FROM {schema}.users"))
        latest = {1: 3, 2: 2, 3: 2, 4: 1, 5: 1, 6: 1, 7: 1}
        assert stored == {user_id(n): version for n, version in latest.items()}
        versions.finish(number)
        assert_summary_is_exact(opened)


@pytest.mark.parametrize(
    "state",
    [
        {"name": "Ja\0ne"},
        {"email": "\0@example.com"},
        {"age": 2**31},
        {"name": " ".join(f"word{n}" for n in range(150_000))},
    ],
    ids=["zero byte in a name", "in an e-mail", "age out of range", "a name too long to index"],
)
def test_a_value_that_cannot_be_stored_is_poisoned_and_not_repeated(
    opened: OpenVersion, state: dict[str, Any]
) -> None:
    """Nor is one that an operator's index refuses."""
    _create_word_index(opened)
    opened.write(user_event(1))
    with pytest.raises(Poisoned) as poisoned:
        opened.write(user_event(2), user_event(3, **state))
    assert "example" not in str(poisoned.value)
    assert "word" not in str(poisoned.value)
    assert opened.model.checkpoint() == {0: opened.position}
    opened.write(user_event(2))
    assert opened.rows("SELECT count(*) FROM {schema}.users") == [(2,)]


def test_pages_by_age_have_every_user_once_in_order(
    opened: OpenVersion, queries: UserQueries
) -> None:
    opened.write(*[user_event(n, age=n % 7) for n in range(1, 101)])
    seen, after = [], None
    while True:
        page = queries.get_users_by_age_range(2, 5, limit=9, after=after)
        seen += [(user.age, user.user_id) for user in page.users]
        if (after := page.next) is None:
            break
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) == sum(2 <= n % 7 <= 5 for n in range(1, 101))


def test_lists_use_their_index(opened: OpenVersion) -> None:
    opened.write(*[user_event(n, age=n % 100) for n in range(1, 3001)])
    with opened.database.session() as connection:
        connection.execute(opened.database.statement("ANALYZE {schema}.users"))
        connection.execute("SET enable_seqscan = off")  # the planner would scan so few rows
    rows = opened.rows(
        "EXPLAIN SELECT id FROM {schema}.user_views WHERE age BETWEEN 20 AND 21 "
        "AND (age, id) > (20, '018bcfe5-6858-7a51-8c30-7eda19086515') ORDER BY age, id LIMIT 10"
    )
    assert any("users_age" in row[0] for row in rows)


def test_a_word_index_forgets_the_users_who_are_gone(
    opened: OpenVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions of earlier releases have one; a large table is not rewritten, only its indexes."""
    monkeypatch.setattr(leftovers, "REWRITTEN_BYTES", 0)
    monkeypatch.setattr(leftovers, "ONCE_IN_SECONDS", 0)
    _create_word_index(opened)
    opened.write(user_event(1, name="Jane Unmistakable"))
    assert _words_on_disk(opened) == [(True,)]
    opened.write(user_event(1, 2, gone=True))

    def is_removed() -> bool:
        try:
            return opened.versions.remove_leftovers(1)
        except Unavailable:  # another test's transaction: an hour later in production
            return False

    eventually(is_removed, 120, "the index is rebuilt")
    assert _words_on_disk(opened) == [(False,)]


def _create_word_index(opened: OpenVersion) -> None:
    with opened.database.session() as connection:
        connection.execute(opened.database.statement(_CREATE_WORD_INDEX))


def _words_on_disk(opened: OpenVersion) -> list[tuple[Any, ...]]:
    with opened.database.session() as connection:
        connection.execute("CHECKPOINT")
    return opened.rows(_WORDS_ON_DISK)


def test_a_read_model_that_was_never_built_is_missing(settings: Settings) -> None:
    with closing(UserQueries(settings)) as queries, pytest.raises(Unavailable) as missing:
        queries.get_user_summary()
    assert missing.value.code == "read_model_missing"
    assert "projector run postgres" in missing.value.next_step


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "building"])
def test_writers_of_different_partitions_do_not_wait_for_each_other(
    settings: Settings, versions: PostgresVersions, *, finished: bool
) -> None:
    """One is in the middle of a transaction while the other commits two."""
    number = 1 if finished else versions.create()
    near, far = ([n for n in range(USERS) if partition(n, settings) == p] for p in (0, 1))
    one: Any = versions.open(number)
    step = Advance(None, Position("topic", 1, 0))
    with (
        closing(one),
        OpenVersion(postgres_versions(settings), number) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        with one.step({1: step}) as cursor:
            copy_rows(cursor, _COPY, [pack_user(user_event(n)) for n in far])
            one._apply(cursor, Batch([user_event(n) for n in far], {1: step}))
            for version in (1, 2):
                thread.submit(other.write, *[user_event(n, version) for n in near]).result(20)
        assert one.checkpoint() == {0: other.position, 1: step.after}


def partition(number: int, settings: Settings) -> int:
    """Return the partition of user `number`."""
    return partition_of(user_shard(user_id(number)), settings.partitions)
