"""The PostgreSQL read model alone: what `write` promises, and the queries over it."""

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from projectors.postgres.database import Database
from projectors.postgres.queries import UserQueries
from projectors.postgres.writer import PostgresUsers
from projectors.read_model import Advance, Batch, Position
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Rejected, Unavailable
from schemas.identity import email_shard, new_user_id
from schemas.records import UserEvent

NOW = 1_700_000_000_000
RECOMPUTED = """
SELECT s.total_users = r.total AND s.average_age IS NOT DISTINCT FROM r.average
   AND (s.users_by_age_group->>'teen')::bigint = r.teens
   AND (s.users_by_age_group->>'adult')::bigint = r.adults
   AND (s.users_by_age_group->>'senior')::bigint = r.seniors
   AND s.last_updated IS NOT DISTINCT FROM r.updated AS equal, s.total_users
FROM {schema}.user_summary s, (
    SELECT count(age) AS total, avg(age) AS average, max(updated_at) AS updated,
           count(*) FILTER (WHERE age < 20) AS teens,
           count(*) FILTER (WHERE age BETWEEN 20 AND 64) AS adults,
           count(*) FILTER (WHERE age > 64) AS seniors
    FROM {schema}.users
) r"""


def event(number: int, version: int = 1, **state: Any) -> UserEvent:
    """Return an event of user `number`; `gone=True` for one that takes it away."""
    email = f"user{number}@example.com"
    user_id = new_user_id(email_shard(email), NOW + number, number)
    at = NOW + number + 1000 * version
    fields = {
        "email": email,
        "email_key": email,
        "name": "Jane Doe",
        "age": 34,
        "created_at": NOW + number,
        "created_by": "c",
    }
    return {
        "event_id": f"{user_id}:{version}",
        "command_id": "c",
        "seq": 1,
        "user_id": user_id,
        "version": version,
        "occurred_at": at,
        "type": "UserUpdated",
        "changes": [],
        "user": None if state.pop("gone", False) else fields | state,  # type: ignore[typeddict-item]
    }


class Filled:
    """The read model of one test and its next checkpoint."""

    def __init__(self, settings: Settings) -> None:
        self.model = PostgresUsers(settings)
        self.model.prepare()
        self.position: Position | None = None
        self.database = Database(settings)

    def write(self, *events: UserEvent) -> None:
        """Apply the events as one batch of partition 0."""
        offset = self.position.next_offset if self.position else 0
        after = Position("topic", offset + len(events), 0)
        self.model.write(Batch(events, {0: Advance(self.position, after)}))
        self.position = after

    def rows(self, text: Any) -> list[tuple[Any, ...]]:
        """Return what a statement finds."""
        with self.database.session() as connection:
            return connection.execute(self.database.statement(text)).fetchall()

    def summary_is_exact(self) -> bool:
        """Say whether the summary equals a full recomputation, seen by one statement."""
        return bool(self.rows(RECOMPUTED)[0][0])


@pytest.fixture
def filled(settings: Settings) -> Iterator[Filled]:
    """An empty read model, dropped with the test."""
    filled = Filled(settings)
    yield filled
    with filled.database.session() as connection:
        connection.execute(filled.database.statement("DROP SCHEMA {schema} CASCADE"))
    filled.model.close()
    filled.database.close()


@pytest.fixture
def queries(settings: Settings) -> Iterator[UserQueries]:
    with closing(UserQueries(settings)) as queries:
        yield queries


def test_a_user_is_shown_as_its_last_event_says(filled: Filled, queries: UserQueries) -> None:
    first = event(1, name="Zoë Ωmega", age=19)
    filled.write(first)
    shown = queries.get_user(first["user_id"].upper())
    assert (shown.name, shown.age, shown.age_group, shown.version) == ("Zoë Ωmega", 19, "teen", 1)
    assert shown.created_at.timestamp() * 1000 == NOW + 1
    assert shown.updated_at.timestamp() * 1000 == first["occurred_at"]
    filled.write(event(1, 2, age=65))
    assert queries.get_user(first["user_id"]).age_group == "senior"


def test_an_event_at_or_below_the_version_held_changes_nothing(
    filled: Filled, queries: UserQueries
) -> None:
    filled.write(event(1, 5, name="New"))
    before = queries.get_user_summary()
    for version in (5, 4, 1):
        filled.write(event(1, version, name="Old", age=1))
    assert queries.get_user(event(1)["user_id"]).name == "New"
    assert queries.get_user_summary() == before


def test_a_user_that_is_gone_stays_gone_whatever_comes_late(
    filled: Filled, queries: UserQueries
) -> None:
    filled.write(event(1), event(2))
    filled.write(event(1, 3, gone=True))
    filled.write(event(1, 2, name="Late"))
    with pytest.raises(Rejected) as missing:
        queries.get_user(event(1)["user_id"])
    assert missing.value.code == "user_not_found"
    assert queries.get_user_summary().total_users == 1
    assert filled.rows("SELECT email, name, age, search_tokens FROM {schema}.users ORDER BY age")[
        1
    ] == (None, None, None, None)
    assert filled.summary_is_exact()


def test_the_summary_equals_a_recomputation_after_every_batch(filled: Filled) -> None:
    chance = random.Random(7)
    assert filled.summary_is_exact()
    for _ in range(40):
        batch = {}
        for _ in range(chance.randint(1, 50)):
            number = chance.randint(1, 60)
            gone = chance.random() < 0.2
            batch[number] = event(
                number, chance.randint(1, 30), age=chance.randint(0, 150), gone=gone
            )
        filled.write(*batch.values())
        assert filled.summary_is_exact()


def test_a_zombie_changes_nothing(filled: Filled, settings: Settings) -> None:
    filled.write(event(1))
    stale = filled.position
    filled.write(event(2))
    with closing(PostgresUsers(settings)) as zombie:
        for before in (None, stale, Position("other", 2, 0), Position("topic", 2, 9)):
            step = Advance(before, Position("topic", 9, 9))
            with pytest.raises(Fenced):
                zombie.write(Batch([event(3)], {0: step}))
    assert filled.model.checkpoint() == {0: filled.position}
    assert filled.rows("SELECT count(*) FROM {schema}.users") == [(2,)]


def test_a_reset_fences_whoever_was_writing_and_leaves_it_empty(filled: Filled) -> None:
    filled.write(event(1))
    filled.model.reset()
    with pytest.raises(Fenced):
        filled.write(event(2))
    assert filled.model.checkpoint() == {}
    assert filled.rows("SELECT total_users, last_updated FROM {schema}.user_summary") == [(0, None)]


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
def test_what_cannot_be_stored_is_poisoned_without_a_word_of_it(
    filled: Filled, state: dict[str, Any]
) -> None:
    filled.write(event(1))
    with pytest.raises(Poisoned) as poisoned:
        filled.write(event(2), event(3, **state))
    assert "example" not in str(poisoned.value)
    assert "word" not in str(poisoned.value)
    assert filled.model.checkpoint() == {0: filled.position}
    filled.write(event(2))
    assert filled.rows("SELECT count(*) FROM {schema}.users") == [(2,)]


def test_pages_by_age_show_everybody_once_in_order(filled: Filled, queries: UserQueries) -> None:
    filled.write(*[event(n, age=n % 7) for n in range(1, 101)])
    seen, after = [], None
    while True:
        page = queries.get_users_by_age_range(2, 5, limit=9, after=after)
        seen += [(user.age, user.user_id) for user in page.users]
        if (after := page.next) is None:
            break
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) == sum(2 <= n % 7 <= 5 for n in range(1, 101))


def test_lists_and_searches_use_their_indexes(filled: Filled) -> None:
    filled.write(*[event(n, age=n % 100) for n in range(1, 3001)])
    with filled.database.session() as connection:
        connection.execute(filled.database.statement("ANALYZE {schema}.users"))
        connection.execute("SET enable_seqscan = off")  # so few rows would be scanned
    plans = {
        "users_age": "SELECT id FROM {schema}.user_views WHERE age BETWEEN 20 AND 21 "
        "AND (age, id) > (20, '018bcfe5-6858-7a51-8c30-7eda19086515') ORDER BY age, id LIMIT 10",
        "users_search_tokens": "SELECT id FROM {schema}.user_views "
        "WHERE search_tokens @@ to_tsquery('simple', 'user7@example.com')",
    }
    for index, statement in plans.items():
        plan = "\n".join(row[0] for row in filled.rows(f"EXPLAIN {statement}"))
        assert index in plan


def test_a_read_model_that_was_never_built_says_so(settings: Settings) -> None:
    with closing(UserQueries(settings)) as queries, pytest.raises(Unavailable) as missing:
        queries.get_user_summary()
    assert missing.value.code == "read_model_missing"
    assert "projector run postgres" in missing.value.next_step
