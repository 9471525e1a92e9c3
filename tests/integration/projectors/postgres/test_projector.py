"""The projector as a process, on forged events: it loses nothing and never gets stuck."""

import json
from contextlib import closing

import pytest
from confluent_kafka.admin import AdminClient

from projectors.postgres.users.queries import UserQueries
from projectors.versions.status import PartitionStatus, read_status
from runtime.kafka import client_config
from runtime.settings import Settings
from runtime.topic_admin import ensure_topics
from schemas.records import DeadLetter
from schemas.topics import DEAD_LETTERS, EVENTS
from tests.catch_up import wait_caught_up
from tests.integration.forged_log import ForgedLog, id_of
from tests.log import read
from tests.processes import Rollbook, eventually


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


def live_version(rollbook: Rollbook) -> int:
    """Return the number of the live version."""
    listed = rollbook.run("projector", "versions", "postgres", "--json").stdout.splitlines()
    [live] = [version["number"] for version in map(json.loads, listed) if version["live"]]
    return int(live)


def dead_letters(settings: Settings) -> list[DeadLetter]:
    """Return all dead letters."""
    return [letter for _, letter in read(settings, DEAD_LETTERS)]


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


def test_a_rebuild_of_a_running_read_model_gives_the_same_users(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    """Queries see it once it is live; the old version is kept up to date until it is dropped."""
    forged.users(0, 2000)
    forged.users(0, 300, version=2)
    process = rollbook.start_projector("postgres")
    wait_caught_up(settings, "postgres")
    for number in (2, 3):
        built = rollbook.json("projector", "rebuild", "postgres")
        assert (built["version"], built["events"]) == (number, 2100 + 100 * number)
        assert (built["rows_compared"], built["users_left_out"]) == (2000, 0)
        assert rollbook.run("projector", "swap", "postgres", str(number)).returncode == 0
        forged.users(0, 100, version=number + 1)
        wait_caught_up(settings, "postgres")
        assert stored(settings) == forged.versions
    assert rollbook.run("projector", "rollback", "postgres").returncode == 0
    assert live_version(rollbook) == 2
    assert rollbook.run("projector", "drop", "postgres", "3", "--yes").returncode == 0
    process.wait_for("postgres version 3 stopped")
    assert rollbook.run("projector", "swap", "postgres", "3").returncode == 3
    assert rollbook.json("projector", "rebuild", "postgres")["version"] == 4
    assert stored(settings) == forged.versions
    assert process.stop() == 0


def test_foreign_bytes_become_dead_letters_and_block_nothing(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    forged.users(0, 100)
    expected = ["wrong_magic", "wrong_magic", "unknown_schema", "no_value"]
    forged.raw(b"x", b"")
    forged.raw(b"x", b"\xff\xfe not avro")
    forged.raw(b"x", b"\0\x7f\xff\xff\xff")
    forged.raw(b"x", None)
    forged.users(100, 50)
    forged.users(7, 1, version=2, name="Ja\0ne")
    process = rollbook.start_projector("postgres")
    eventually(lambda: len(dead_letters(settings)) >= 5, what="five dead letters")
    wait_caught_up(settings, "postgres")
    letters = dead_letters(settings)
    assert [one["error"] for one in letters if one["error"] != "postgres_refused"] == expected
    assert {one["reader"] for one in letters} == {"projector:postgres"}
    assert len(letters) == 5
    assert len(stored(settings)) == 150
    assert process.stop() == 0
    again = rollbook.start_projector("postgres")
    again.wait_for("assigned")
    forged.users(7, 1, version=3)
    eventually(lambda: stored(settings)[id_of(7)] == 3, what="the next event of the user")
    assert len(dead_letters(settings)) == 5


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
