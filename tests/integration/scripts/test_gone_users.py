"""Deletion and erasure by the command line, and what both read models show of them."""

from contextlib import closing

import pytest

from producers.client import CommandClient, find_outcome
from projectors.elasticsearch.search.queries import search_users
from projectors.postgres.users.queries import UserQueries
from runtime.settings import Settings
from schemas.errors import Rejected
from tests.integration.scripts.test_pipeline import digests
from tests.observed.catch_up import wait_caught_up
from tests.samples.given import PARTITIONS, address_in, home_of
from tests.started.addresses import assert_log_is_valid, create_when_free
from tests.started.processes import Rollbook, RunningProcess, eventually

JANE = "jane@example.com"
FAR = address_in((home_of(JANE) + 1) % PARTITIONS, "elsewhere")
MODELS = ("postgres", "elasticsearch")


@pytest.fixture
def registry(rollbook: Rollbook, handler: RunningProcess) -> Rollbook:
    """A handler and the projectors of `MODELS`, running."""
    for name in MODELS:
        rollbook.start_projector(name)
    return rollbook


def made(rollbook: Rollbook, email: str, name: str, age: int) -> str:
    """Create a user; return its id."""
    with CommandClient(rollbook.settings, timeout_seconds=60) as client:
        user_id = client.create_user(email, name, age).user_id
    assert user_id is not None
    return user_id


def assert_all_see(settings: Settings, users: dict[str, str], gone: set[str]) -> None:
    """Fail unless every query shows exactly these users (id → address), and no gone ones."""
    wait_caught_up(settings, *MODELS)
    with closing(UserQueries(settings)) as queries:
        listed = queries.get_users_by_age_range().users
        assert {user.user_id: user.email for user in listed} == users
        assert queries.get_user_summary().total_users == len(users)
        for user_id, email in users.items():
            assert queries.get_user(user_id).email == email
        for user_id in gone:
            with pytest.raises(Rejected, match="no user"):
                queries.get_user(user_id)

    def found() -> bool:
        seen = search_users(settings, "registered")
        return {user["user_id"]: user["email"] for user in seen} == users

    eventually(found, 20, "the search shows the same")


def test_both_read_models_follow_a_user_to_the_end(registry: Rollbook) -> None:
    """Moved, deleted, erased, erased again, and the address registered by another user."""
    jane = made(registry, JANE, "Jane Registered", 34)
    other = made(registry, "other@example.com", "Other Registered", 70)
    moved = registry.json("users", "change-email", jane, "--email", FAR, "--expected-version", "1")
    assert (moved["status"], moved["version"]) == ("accepted", 2)
    assert_all_see(registry.settings, {jane: FAR, other: "other@example.com"}, set())

    deleted = registry.json("users", "delete", jane, "--command-id", "end")
    assert registry.json("users", "delete", jane, "--command-id", "end") == deleted
    erased = registry.json("users", "erase", other, "--yes")
    assert_all_see(registry.settings, {}, {jane, other})

    with CommandClient(registry.settings, timeout_seconds=60) as client:
        heir = create_when_free(client, FAR, "New Registered")
    assert heir not in (jane, other)
    twice = registry.json("users", "erase", jane, "-", "--yes", stdin='{"expected_version": 3}')
    assert twice["version"] == 4
    assert_all_see(registry.settings, {heir: FAR}, {jane, other})
    for outcome in (moved, deleted, erased, twice):
        found = find_outcome(registry.settings, outcome["command_id"])
        assert found.as_fields() == outcome
    assert len(set(digests(registry.settings).values())) == 1
    assert_log_is_valid(registry.settings)
