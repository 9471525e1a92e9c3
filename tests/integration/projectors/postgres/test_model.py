"""The PostgreSQL read model alone: what `write` promises, and the queries over it."""

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Batch, Dropped, Position
from projectors.postgres.users.queries import UserQueries
from projectors.postgres.users.writer import postgres_versions
from projectors.promises.events import NOW, user_event
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Rejected, Unavailable
from tests.read_models import Held

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


def summary_is_exact(held: Held) -> bool:
    """Say whether the summary equals a full recomputation, seen by one statement."""
    return bool(held.rows(RECOMPUTED)[0][0])


@pytest.fixture
def held(settings: Settings) -> Iterator[Held]:
    """An empty read model, dropped with the test."""
    with Held(postgres_versions(settings)) as held:
        yield held


@pytest.fixture
def queries(settings: Settings) -> Iterator[UserQueries]:
    with closing(UserQueries(settings)) as queries:
        yield queries


def test_a_user_is_shown_as_its_last_event_says(held: Held, queries: UserQueries) -> None:
    first = user_event(1, name="Zoë Ωmega", age=19)
    held.write(first)
    shown = queries.get_user(first["user_id"].upper())
    assert (shown.name, shown.age, shown.age_group, shown.version) == ("Zoë Ωmega", 19, "teen", 1)
    assert shown.created_at.timestamp() * 1000 == NOW + 1
    assert shown.updated_at.timestamp() * 1000 == first["occurred_at"]
    held.write(user_event(1, 2, age=65))
    assert queries.get_user(first["user_id"]).age_group == "senior"


def test_an_event_at_or_below_the_version_held_changes_nothing(
    held: Held, queries: UserQueries
) -> None:
    held.write(user_event(1, 5, name="New"))
    before = queries.get_user_summary()
    for version in (5, 4, 1):
        held.write(user_event(1, version, name="Old", age=1))
    assert queries.get_user(user_event(1)["user_id"]).name == "New"
    assert queries.get_user_summary() == before


def test_a_user_that_is_gone_stays_gone_whatever_comes_late(
    held: Held, queries: UserQueries
) -> None:
    held.write(user_event(1), user_event(2))
    held.write(user_event(1, 3, gone=True))
    held.write(user_event(1, 2, name="Late"))
    with pytest.raises(Rejected) as missing:
        queries.get_user(user_event(1)["user_id"])
    assert missing.value.code == "user_not_found"
    assert queries.get_user_summary().total_users == 1
    assert held.rows("SELECT email, name, age, search_tokens FROM {schema}.users ORDER BY age")[
        1
    ] == (None, None, None, None)
    assert summary_is_exact(held)


def test_the_summary_equals_a_recomputation_after_every_batch(held: Held) -> None:
    chance = random.Random(7)
    assert summary_is_exact(held)
    for _ in range(40):
        batch = {}
        for _ in range(chance.randint(1, 50)):
            number = chance.randint(1, 60)
            gone = chance.random() < 0.2
            batch[number] = user_event(
                number, chance.randint(1, 30), age=chance.randint(0, 150), gone=gone
            )
        held.write(*batch.values())
        assert summary_is_exact(held)


def test_a_zombie_changes_nothing(held: Held) -> None:
    held.write(user_event(1))
    stale = held.position
    held.write(user_event(2))
    with closing(held.versions.open(1)) as zombie:
        for before in (None, stale, Position("other", 2, 0), Position("topic", 2, 9)):
            step = Advance(before, Position("topic", 9, 9))
            with pytest.raises(Fenced):
                zombie.write(Batch([user_event(3)], {0: step}))
    assert held.model.checkpoint() == {0: held.position}
    assert held.rows("SELECT count(*) FROM {schema}.users") == [(2,)]


def test_a_zombie_of_a_version_that_was_dropped_stays_dropped(
    held: Held, settings: Settings
) -> None:
    """Another one is made later, which begins like the one it writes to: still it is not that."""
    number = held.versions.create()
    with Held(postgres_versions(settings), number) as zombie:
        zombie.write(user_event(1))
        held.versions.drop(number)
        for _ in range(2):
            with pytest.raises(Dropped):
                zombie.model.checkpoint()
            with pytest.raises(Dropped):
                zombie.write(user_event(2))
            with pytest.raises(Dropped):
                list(zombie.model.rows())
            assert held.versions.create() > number


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
    held: Held, state: dict[str, Any]
) -> None:
    held.write(user_event(1))
    with pytest.raises(Poisoned) as poisoned:
        held.write(user_event(2), user_event(3, **state))
    assert "example" not in str(poisoned.value)
    assert "word" not in str(poisoned.value)
    assert held.model.checkpoint() == {0: held.position}
    held.write(user_event(2))
    assert held.rows("SELECT count(*) FROM {schema}.users") == [(2,)]


def test_pages_by_age_show_everybody_once_in_order(held: Held, queries: UserQueries) -> None:
    held.write(*[user_event(n, age=n % 7) for n in range(1, 101)])
    seen, after = [], None
    while True:
        page = queries.get_users_by_age_range(2, 5, limit=9, after=after)
        seen += [(user.age, user.user_id) for user in page.users]
        if (after := page.next) is None:
            break
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) == sum(2 <= n % 7 <= 5 for n in range(1, 101))


def test_lists_and_searches_use_their_indexes(held: Held) -> None:
    held.write(*[user_event(n, age=n % 100) for n in range(1, 3001)])
    with held.database.session() as connection:
        connection.execute(held.database.statement("ANALYZE {schema}.users"))
        connection.execute("SET enable_seqscan = off")  # so few rows would be scanned
    plans = {
        "users_age": "SELECT id FROM {schema}.user_views WHERE age BETWEEN 20 AND 21 "
        "AND (age, id) > (20, '018bcfe5-6858-7a51-8c30-7eda19086515') ORDER BY age, id LIMIT 10",
        "users_search_tokens": "SELECT id FROM {schema}.user_views "
        "WHERE search_tokens @@ to_tsquery('simple', 'user7@example.com')",
    }
    for index, statement in plans.items():
        plan = "\n".join(row[0] for row in held.rows(f"EXPLAIN {statement}"))
        assert index in plan


def test_a_read_model_that_was_never_built_says_so(settings: Settings) -> None:
    with closing(UserQueries(settings)) as queries, pytest.raises(Unavailable) as missing:
        queries.get_user_summary()
    assert missing.value.code == "read_model_missing"
    assert "projector run postgres" in missing.value.next_step
