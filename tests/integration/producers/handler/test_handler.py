"""The command handler on a real broker: answers, restarts, takeovers, zombies, foreign bytes.

What a broker does not decide is stepped in `tests/unit/producers/handler`.
"""

import json

from confluent_kafka import Consumer

from producers.handler.members import GROUP
from runtime.kafka.clients import consumer_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.identity import SHARDS, email_shard, new_user_id, partition_of
from schemas.records import DeadLetter
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, OUTCOMES
from tests.observed.log import assert_exactly_once, decided, put, read, send_creates
from tests.samples.given import create
from tests.started.processes import Rollbook, RunningProcess, eventually


def test_foreign_commands_are_answered_or_dead_lettered_and_block_nothing(
    settings: Settings, handler: RunningProcess
) -> None:
    """Bytes that are not a command, invalid command ids, wrong partitions, broken rules."""
    encode = Registry(settings).codec(COMMANDS.schema).encode
    home = partition_of(email_shard("ok@example.com"), settings.partitions)
    elsewhere = (home + 1) % settings.partitions
    command = create("ok@example.com", command_id="good")
    good = encode(command)
    foreign = (b"", b"no avro", None, good[:-3], good + b"x", b"\x00\x7f\xff\xff\xff" + good[5:])
    unanswerable = (encode({**command, "command_id": one}) for one in ("", "x" * 65))
    put(
        settings,
        COMMANDS,
        *(("foreign", value, home) for value in (*foreign, *unanswerable)),
        ("lost", encode({**command, "command_id": "lost"}), elsewhere),
        ("bad", encode({**command, "command_id": "bad", "name": "\x07"}), home),
        ("good", good, home),
    )
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


def test_a_registry_that_lost_its_ids_stops_the_start(
    settings: Settings, rollbook: Rollbook
) -> None:
    """A user's record with an unknown schema id may be the latest: nothing is decided."""
    first_shards = {partition_of(one, settings.partitions): one for one in reversed(range(SHARDS))}
    ids = ((number, new_user_id(shard, 1, 1)) for number, shard in first_shards.items())
    put(settings, EVENTS, *((one, b"\x00\x7f\xff\xff\xff\x02", number) for number, one in ids))
    stopped = rollbook.start_handler(wait=False)
    assert stopped.wait() == 2
    for number in range(settings.partitions):
        place = f"{settings.named(EVENTS.name)} partition {number} offset 0"
        assert f"partition {number} is not decided: cannot restore: {place}" in stopped.text()


def test_one_handler_takes_over_when_the_other_is_killed(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Two share the partitions; after one is killed under load, the other decides all of them."""
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
    """Frozen until another owns its partitions, then continued: its batch is refused."""
    first = rollbook.start_handler("a")
    zombie = rollbook.start_handler("b", wait=False)
    zombie.wait_for("restored partition", times=2)
    first.wait_for("gave up partitions")
    send_creates(settings, "before", 1_000)
    zombie.freeze()
    send_creates(settings, "during", 2_000)
    eventually(lambda: decided(settings) == 3_000)
    zombie.thaw()
    zombie.wait_for("gave up partitions")
    send_creates(settings, "after", 1_000)
    eventually(lambda: decided(settings) == 4_000)
    assert_exactly_once(settings, 4_000)


def test_an_instance_that_already_runs_is_refused(settings: Settings, rollbook: Rollbook) -> None:
    rollbook.start_handler("a")
    second = rollbook.run("handler", "run", "--instance", "a")
    assert second.returncode == 2
    assert "already running" in second.stderr


def test_an_identity_that_runs_on_another_host_is_refused(
    settings: Settings, rollbook: Rollbook
) -> None:
    """A lock file covers one machine; a live member on another host prevents the start too."""
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


def test_another_number_of_partitions_is_refused(settings: Settings, rollbook: Rollbook) -> None:
    """The number of partitions determines where users live, so it can never change."""
    rollbook.overrides["ROLLBOOK_PARTITIONS"] = "2"
    done = rollbook.run("topics", "ensure", "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["code"] == "other_partitions"
