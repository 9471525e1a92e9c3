"""What a restore reads: everything before the first decision, except foreign bytes."""

from dataclasses import replace

import pytest

from producers.handler.partitions import restore
from producers.handler.partitions.partition import Stopped
from schemas.errors import Misconfigured
from schemas.identity import SHARDS, new_user_id, partition_of
from schemas.topics import EMAILS, EVENTS, HISTORY, OUTCOMES
from tests.samples.given import PARTITIONS, address_in, create, update
from tests.unit.producers.handler.in_memory.stepping import Cluster, sizes

ANSWER = ("command_id", "status", "code", "user_id", "version", "seq")
UNKNOWN_SCHEMA = b"\x00\x7f\xff\xff\xff\x02"


def test_a_restored_state_answers_as_the_one_before() -> None:
    """Repeated commands get the first answer, and users have the versions that they had."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create("jane@example.com", command_id="create"))
    cluster.decide(1, handler)
    user_id = cluster.read(OUTCOMES)[0][1]["user_id"]
    cluster.send(update(user_id, age=40, expected_version=1, command_id="age"))
    cluster.decide(2, handler)
    cluster.send(create("jane@example.com", command_id="taken"))
    cluster.decide(3, handler)
    cluster.send(
        create("jane@example.com", command_id="create"),
        update(user_id, age=40, expected_version=1, command_id="age"),
        create("jane@example.com", command_id="taken"),
        update(user_id, age=1, command_id="age"),
        update(user_id, age=41, expected_version=2, command_id="older"),
    )
    cluster.decide(8, cluster.start())
    outcomes = [one for _, one in cluster.read(OUTCOMES)]
    answers = [{name: one[name] for name in ANSWER} for one in outcomes]
    assert answers[3:6] == answers[:3]
    assert [one["repeated"] for one in outcomes[:6]] == [False] * 3 + [True] * 3
    assert [one["code"] for one in outcomes[2:]] == [
        *("user_already_exists", None, None, "user_already_exists", "command_id_reused", None),
    ]
    assert [event["version"] for _, event in cluster.read(HISTORY)] == [1, 2, 3]


def test_ids_are_remembered_by_time_as_well_as_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that takes over reads the outcomes of the last minutes, however many there are."""
    monkeypatch.setattr(restore, "_SPARE_OFFSETS", 5)
    cluster = Cluster(outcomes_window_count=5)
    handler = cluster.ready()
    cluster.send_creates("u", 40)
    cluster.decide(40, handler)
    ids = [one["user_id"] for _, one in cluster.read(OUTCOMES)]
    first = [update(one, age=40, command_id=f"first-{one}") for one in ids]
    cluster.send(*first, *(update(one, age=41, command_id=f"second-{one}") for one in ids))
    cluster.decide(120, handler)
    cluster.send(*first)
    cluster.decide(160, cluster.start())
    assert len(cluster.read(HISTORY)) == 120
    repeats = [one for _, one in cluster.read(OUTCOMES) if one["repeated"]]
    assert {one["command_id"] for one in repeats} == {one["command_id"] for one in first}


def test_foreign_bytes_do_not_stop_a_restore(caplog: pytest.LogCaptureFixture) -> None:
    """What no handler wrote is skipped, and logged with its coordinates."""
    cluster = Cluster()
    for topic in (EVENTS, OUTCOMES, EMAILS):
        for number in range(PARTITIONS):
            cluster.log.append(topic.name, number, b"foreign", b"no avro")
            cluster.log.append(topic.name, number, b"foreign", UNKNOWN_SCHEMA)
    cluster.send_creates("u")
    handler = cluster.start()
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS], handler)
    assert caplog.text.count("skipping a foreign record") == 2 * 3 * PARTITIONS
    assert "user-events partition 3 offset 0" in caplog.text


def test_a_users_record_under_an_unknown_schema_id_stops_its_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The registry may have lost it, and the record may be the user's latest; others continue."""
    cluster = Cluster()
    cluster.log.append(EVENTS.name, 0, new_user_id(0, 1, 1).encode(), UNKNOWN_SCHEMA)
    handler = cluster.start()
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS - 1], handler)
    assert "partition 0 is not decided: cannot restore" in caplog.text
    cluster.send(*(create(address_in(n), command_id=f"in-{n}") for n in range(PARTITIONS)))
    cluster.decide(PARTITIONS - 1, handler)
    assert {number for number, _ in cluster.read(OUTCOMES)} == set(range(1, PARTITIONS))


def test_a_handler_that_may_decide_no_partition_stops() -> None:
    cluster = Cluster()
    for number in range(PARTITIONS):
        shard = next(one for one in range(SHARDS) if partition_of(one, PARTITIONS) == number)
        key = new_user_id(shard, 1, 1).encode()
        cluster.log.append(EVENTS.name, number, key, UNKNOWN_SCHEMA)
    handler = cluster.start()
    with pytest.raises(Misconfigured, match="cannot restore") as caught:
        cluster.step_until(lambda: False, handler)
    assert caught.value.code == "unreadable_log"


def test_a_stopped_partition_is_restored_again_after_a_minute() -> None:
    """What stopped it may have been resolved, such as a registry whose storage is back."""
    cluster = Cluster()
    cluster.log.append(EVENTS.name, 0, new_user_id(0, 1, 1).encode(), UNKNOWN_SCHEMA)
    handler = cluster.start()
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS - 1], handler)
    cluster.log.partitions[EVENTS.name, 0].low = 1
    partition = handler._ownership._partitions[0]
    assert isinstance(partition.phase, Stopped)
    partition.phase = replace(partition.phase, since=partition.phase.since - 61)
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS], handler)
