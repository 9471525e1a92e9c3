"""The projector as a process on forged events, and the queries of its read model."""

from contextlib import closing

import pytest
from confluent_kafka.admin import AdminClient

from projectors.postgres.users.queries import UserQueries
from projectors.versions.status import PartitionStatus, read_status
from runtime.kafka.clients import client_config
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from schemas.topics import EVENTS
from tests.integration.forged_log import ForgedLog, id_of
from tests.observed.catch_up import wait_caught_up
from tests.started.processes import Rollbook, eventually


@pytest.fixture
def forged(settings: Settings) -> ForgedLog:
    """A log to which the test writes events without a handler."""
    return ForgedLog(settings)


def stored(settings: Settings) -> dict[str, int]:
    """Return user id → version in the read model, and check the summary.

    These are two statements, so they agree only once the read model has caught up.
    """
    users: dict[str, int] = {}
    after = None
    with closing(UserQueries(settings)) as queries:
        while True:
            page = queries.get_users_by_age_range(limit=10_000, after=after)
            users |= {user.user_id: user.version for user in page.users}
            if (after := page.next) is None:
                break
        assert queries.get_user_summary().total_users == len(users)
    return users


def status(settings: Settings) -> list[PartitionStatus]:
    """Return the status of each partition in PostgreSQL."""
    return [one for one in read_status(settings).partitions if one.read_model == "postgres"]


def test_it_applies_events_from_before_and_during_its_run_and_ends_without_lag(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    forged.users(0, 3000)
    forged.aborted(50)
    rollbook.start_projector("postgres").wait_for("caught up")
    forged.users(0, 500, version=2)
    forged.users(3000, 200)
    forged.aborted(50)
    wait_caught_up(settings, "postgres")
    assert stored(settings) == forged.versions
    found = status(settings)
    assert {one.lag for one in found} == {0}
    assert all(one.position is not None and one.position < one.end for one in found)


def test_a_recreated_topic_is_refused_until_the_read_model_is_rebuilt(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    forged.users(0, 10)
    process = rollbook.start_projector("postgres")
    wait_caught_up(settings, "postgres")
    process.stop()
    name = settings.named(EVENTS.name)
    admin = AdminClient(client_config(settings))
    admin.delete_topics([name])[name].result()
    eventually(lambda: name not in admin.list_topics(timeout=10).topics, what="topic gone")
    ensure_topics(settings)
    refused = rollbook.start_projector("postgres")
    assert refused.wait() == 2
    assert "re-created" in refused.text()
    recreated = ForgedLog(settings)
    recreated.users(5, 1)
    assert rollbook.json("projector", "rebuild", "postgres")["version"] == 2
    rollbook.start_projector("postgres").wait_for("assigned", times=2)
    recreated.users(6, 1)
    assert len(stored(settings)) == 10  # queries see the old version until the swap
    assert rollbook.run("projector", "swap", "postgres", "2").returncode == 0
    assert rollbook.run("projector", "drop", "postgres", "1", "--yes").returncode == 0
    wait_caught_up(settings, "postgres")
    assert stored(settings) == recreated.versions


def test_queries_have_the_documented_results_and_exit_codes(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    assert rollbook.json("users", "get", id_of(1), code=5)["error"]["code"] == "read_model_missing"
    forged.users(0, 30)
    rollbook.start_projector("postgres")
    wait_caught_up(settings, "postgres")
    user = rollbook.json("users", "get", id_of(1))
    assert (user["user_id"], user["age_group"]) == (id_of(1), "teen")
    assert user["created_at"] == "2023-11-14T22:13:20.001Z"
    assert rollbook.json("users", "summary")["total_users"] == 30
    assert rollbook.json("users", "get", id_of(99), code=3)["error"]["code"] == "user_not_found"
    assert rollbook.run("users", "get", "jane").returncode == 2
    assert rollbook.run("users", "list", "--min-age", "9", "--max-age", "8").returncode == 2
    assert rollbook.run("users", "list", "--cursor", "x").returncode == 2
    listed = rollbook.run("users", "list", "--all", "--json")
    assert len(listed.stdout.splitlines()) == 30
    rollbook.overrides["ROLLBOOK_POSTGRES_URL"] = "postgresql://rollbook@127.0.0.1:1/rollbook"
    unavailable = rollbook.json("users", "summary", code=5)["error"]
    assert unavailable["code"] == "postgres_unavailable"
    assert "127.0.0.1:1" in unavailable["message"]
    assert rollbook.run("projector", "status").returncode == 5
