"""The command handler on a real broker: answers, restart, take-over, zombies, foreign bytes."""

import json
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Producer

from producers.client.command_client import CommandClient
from producers.handler.start import GROUP, KafkaClients, start_handler
from producers.handler.transaction import Transactions
from producers.handler.watchdog import Watchdog
from runtime.kafka import admin, consumer_config, producer_config
from runtime.process import StopSignal
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Fenced, Misconfigured, Rejected
from schemas.identity import email_shard, new_user_id, partition_of
from schemas.records import DeadLetter
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HISTORY, OUTCOMES
from tests.given import create
from tests.log import assert_exactly_once, decided, read, send_creates
from tests.processes import Rollbook, RunningProcess, eventually

NOBODY = "0190f5d8-1c2e-7abc-8def-0123456789ab"


def test_the_answers_of_a_users_life(settings: Settings, handler: RunningProcess) -> None:
    """Every rejection code of this side, and the acceptances between them."""
    with CommandClient(settings) as client:
        made = client.create_user("jane@example.com", "Jane", 33)
        assert (made.status, made.version) == ("accepted", 1)
        taken = client.create_user("JANE@example.com", "Other", 20)
        assert (taken.code, taken.user_id) == ("user_already_exists", made.user_id)
        assert made.user_id is not None
        aged = client.update_user(made.user_id, age=34, expected_version=1, command_id="age")
        assert (aged.status, aged.version) == ("accepted", 2)
        late = client.update_user(made.user_id, age=35, expected_version=1)
        assert (late.code, late.version) == ("version_conflict", 2)
        again = client.update_user(made.user_id, age=34, expected_version=1, command_id="age")
        assert (again.status, again.version, again.token) == ("accepted", 2, aged.token)
        reused = client.update_user(made.user_id, age=36, command_id="age")
        assert reused.code == "command_id_reused"
        nobody = client.update_user(NOBODY, age=36)
        assert nobody.code == "user_not_found"
        same = client.update_user(made.user_id, age=34)
        assert (same.status, same.version) == ("accepted", 2)


def test_a_stranger_gets_answers_and_dead_letters_and_sticks_nothing(
    settings: Settings, handler: RunningProcess
) -> None:
    """Bytes that are no command, ids that cannot be answered, wrong partitions, broken rules."""
    codec = Registry(settings).codec(COMMANDS.schema)
    topic = settings.named(COMMANDS.name)
    home = partition_of(email_shard("ok@example.com"), settings.partitions)
    producer = Producer(producer_config(settings))
    good = codec.encode(create("ok@example.com", command_id="good"))
    for value in (
        b"",
        b"no avro",
        None,
        good[:-3],
        good + b"x",
        b"\x00\x7f\xff\xff\xff" + good[5:],
    ):
        producer.produce(topic, value, "foreign", home)
    for command_id in ("", "x" * 65):
        command = create("ok@example.com", command_id="-")
        producer.produce(topic, codec.encode({**command, "command_id": command_id}), "k", home)
    elsewhere = (home + 1) % settings.partitions
    lost = create("ok@example.com", command_id="lost")
    producer.produce(topic, codec.encode(lost), "lost", elsewhere)
    bad = create("ok@example.com", name="\x07", command_id="bad")
    producer.produce(topic, codec.encode(bad), "bad", home)
    producer.produce(topic, good, "good", home)
    producer.flush()
    eventually(lambda: decided(settings) == 3)
    answers = {outcome["command_id"]: outcome["code"] for _, outcome in read(settings, OUTCOMES)}
    assert answers == {"lost": "wrong_partition", "bad": "invalid_command", "good": None}
    letters: list[tuple[int, DeadLetter]] = list(read(settings, DEAD_LETTERS))
    assert [letter["error"] for _, letter in letters] == [
        "wrong_magic",
        "wrong_magic",
        "no_value",
        "bad_avro",
        "trailing_bytes",
        "unknown_schema",
        "bad_command_id",
        "bad_command_id",
    ]
    assert [letter["offset"] for _, letter in letters] == list(range(8))
    assert {letter["reader"] for _, letter in letters} == {"handler"}


def test_foreign_bytes_among_the_events_do_not_stop_a_restore(
    settings: Settings, rollbook: Rollbook
) -> None:
    """What no handler wrote is passed over, with its coordinates in the log."""
    producer = Producer(producer_config(settings))
    for topic in (EVENTS, OUTCOMES):
        for partition in range(settings.partitions):
            producer.produce(settings.named(topic.name), b"no avro", "foreign", partition)
    producer.flush()
    process = rollbook.start_handler()
    with CommandClient(settings) as client:
        assert client.create_user("jane@example.com", "Jane", 33).status == "accepted"
    assert f"{settings.named('user-events')} partition 0 offset 0" in process.text()


def test_a_registry_that_lost_its_ids_stops_the_start(
    settings: Settings, rollbook: Rollbook
) -> None:
    """A user's record that the registry cannot explain may be the latest: decide nothing."""
    user_id = new_user_id(0, 1, 1)
    producer = Producer(producer_config(settings))
    unknown = b"\x00\x7f\xff\xff\xff\x02"
    producer.produce(settings.named(EVENTS.name), unknown, user_id, 0)
    producer.flush()
    stopped = rollbook.start_handler(wait=False)
    assert stopped.wait() == 2
    assert f"cannot restore: {settings.named(EVENTS.name)} partition 0 offset 0" in stopped.text()


def test_a_killed_handler_comes_back_and_goes_on(settings: Settings, rollbook: Rollbook) -> None:
    """Kill it with -9 under load, three times: nothing lost, nothing twice."""
    process = rollbook.start_handler()
    for kill in range(3):
        send_creates(settings, f"k{kill}", 3_000)
        eventually(lambda kill=kill: decided(settings) > 3_000 * kill)  # type: ignore[misc]
        process.kill()
        process = rollbook.start_handler(wait=False)
    eventually(lambda: decided(settings) == 9_000)
    assert_exactly_once(settings, 9_000)


def test_one_handler_takes_over_when_the_other_is_killed(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Two share the partitions; killed with -9 under load, one's are decided by the other."""
    first = rollbook.start_handler("a")
    second = rollbook.start_handler("b", wait=False)
    second.wait_for("restored partition", times=2)
    first.wait_for("gave up partitions")
    send_creates(settings, "before", 4_000)
    eventually(lambda: decided(settings) > 0)
    second.kill()
    send_creates(settings, "after", 4_000)
    eventually(lambda: decided(settings) == 8_000)
    assert_exactly_once(settings, 8_000)


def test_a_zombie_handler_changes_nothing(settings: Settings, rollbook: Rollbook) -> None:
    """Stopped until its partitions are another's, then continued: its batch is refused."""
    first = rollbook.start_handler("a")
    zombie = rollbook.start_handler("b", wait=False)
    zombie.wait_for("restored partition", times=2)
    first.wait_for("gave up partitions")
    send_creates(settings, "before", 2_000)
    zombie.freeze()
    send_creates(settings, "during", 4_000)
    eventually(lambda: decided(settings) == 6_000)
    zombie.thaw()
    zombie.wait_for("gave up partitions")
    send_creates(settings, "after", 2_000)
    eventually(lambda: decided(settings) == 8_000)
    assert_exactly_once(settings, 8_000)


def test_repeats_and_versions_survive_a_restart(settings: Settings, rollbook: Rollbook) -> None:
    """The state after a restore answers as the state before."""
    process = rollbook.start_handler()
    with CommandClient(settings) as client:
        made = client.create_user("jane@example.com", "Jane", 33, command_id="create")
        refused = client.create_user("jane@example.com", "Jane", 33, command_id="late")
        assert made.user_id is not None
        aged = client.update_user(made.user_id, age=34, command_id="age")
        client.update_user(made.user_id, age=35, command_id="older")
    process.kill()
    rollbook.start_handler()
    with CommandClient(settings) as client:
        again = client.update_user(made.user_id, age=34, command_id="age")
        assert (again.version, again.token) == (aged.version, aged.token)
        created = client.create_user("jane@example.com", "Jane", 33, command_id="create")
        assert replace(created, repeated=False) == made
        late = client.create_user("jane@example.com", "Jane", 33, command_id="late")
        assert (late.code, late.user_id) == (refused.code, made.user_id)
        reused = client.update_user(made.user_id, age=1, command_id="age")
        assert reused.code == "command_id_reused"
    assert len(list(read(settings, HISTORY))) == 3


def test_lost_offsets_are_a_loud_stop(settings: Settings, rollbook: Rollbook) -> None:
    """A group without offsets over a log with decisions decides nothing a second time."""
    process = rollbook.start_handler()
    send_creates(settings, "u", 50)
    eventually(lambda: decided(settings) == 50)
    process.stop()
    client = admin(settings)
    group = settings.named("rollbook-handler")

    def deleted() -> bool:
        return client.delete_consumer_groups([group])[group].exception() is None

    eventually(deleted, what="the static member's session ends")
    stopped = rollbook.start_handler(wait=False)
    assert stopped.wait() == 2
    assert "has no valid offset" in stopped.text()
    assert decided(settings) == 50


def test_one_identity_runs_once(settings: Settings, rollbook: Rollbook) -> None:
    """The second process of an instance is refused at start, naming the lock."""
    rollbook.start_handler("a")
    second = rollbook.run("handler", "run", "--instance", "a")
    assert second.returncode == 2
    assert "already running" in second.stderr


def test_an_identity_that_runs_on_another_host_is_refused(
    settings: Settings, rollbook: Rollbook
) -> None:
    """The lock file is one machine's; a live twin elsewhere stops the start, and keeps deciding."""
    twin = Consumer(
        consumer_config(settings, settings.named(GROUP))
        | {
            "group.instance.id": settings.named(f"{GROUP}-a"),
            "client.id": "rollbook@elsewhere",
            "session.timeout.ms": 6000,
        }
    )
    twin.subscribe([settings.named(COMMANDS.name)])
    eventually(lambda: twin.poll(0.1) or twin.assignment())
    second = rollbook.start_handler("a", wait=False)
    eventually(lambda: twin.poll(0.1) or second.returncode() is not None)
    assert second.wait() == 2
    assert "a handler on rollbook@elsewhere runs as" in second.text()
    twin.close()


def test_missing_topics_stop_the_start(settings: Settings, rollbook: Rollbook) -> None:
    """A handler without topics says which one and what to do."""
    rollbook.overrides["ROLLBOOK_PREFIX"] = "nobody"
    done = rollbook.run("handler", "run", "--instance", "a")
    assert done.returncode == 2
    assert "rollbook topics ensure" in done.stderr


def test_another_number_of_partitions_stops_the_start(
    settings: Settings, rollbook: Rollbook
) -> None:
    """The number of partitions places the users: it is fixed for life."""
    rollbook.overrides["ROLLBOOK_PARTITIONS"] = "2"
    done = rollbook.run("topics", "ensure", "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["code"] == "other_partitions"


def test_a_fenced_handler_stops(settings: Settings) -> None:
    """A second producer of the same identity ends the first one's right to write."""
    stop = StopSignal()
    handler = start_handler(settings, Registry(settings), "a", stop)
    Transactions(settings, KafkaClients(settings, "a"), Watchdog(60), stop)
    send_creates(settings, "u", 1)
    with pytest.raises(Fenced):
        handler.run()


def test_a_rejection_keeps_its_message_free_of_personal_data(
    settings: Settings, handler: RunningProcess
) -> None:
    """Outcomes are kept for days: they name users by id only."""
    with CommandClient(settings) as client:
        client.create_user("jane@example.com", "Jane", 33)
        client.create_user("jane@example.com", "Jane", 33)
    for _, outcome in read(settings, OUTCOMES):
        assert "jane" not in repr(outcome).lower()
    assert "jane" not in handler.text().lower()


def test_the_edge_refuses_before_anything_is_sent(settings: Settings) -> None:
    """No handler is needed to learn that a name is empty."""
    with CommandClient(settings) as client, pytest.raises(Rejected):
        client.create_user("jane@example.com", "  ", 33)


def test_the_settings_that_fence_are_refused_when_wrong() -> None:
    """A session of no length is refused by name."""
    with pytest.raises(Misconfigured, match="session_timeout_seconds"):
        Settings(session_timeout_seconds=0)
