"""Where a handler begins to decide: it repeats and skips no command, or stops with an error."""

import logging

import pytest
from confluent_kafka import KafkaError

from schemas.errors import Misconfigured, Unavailable
from schemas.positions import POSITION_KEY
from schemas.topics import COMMANDS, EMAILS, HOPS, OUTCOMES
from tests.samples.given import PARTITIONS, address_in, change_email, create, home_of
from tests.unit.producers.handler.in_memory.log import MemoryProducer, failure
from tests.unit.producers.handler.in_memory.stepping import Cluster

LOGGER = logging.getLogger("unused")
JANE = "jane@example.com"


@pytest.mark.parametrize("offset", [None, 0])
def test_offsets_that_contradict_the_log_of_an_earlier_release_stop_the_handler(
    offset: int | None,
) -> None:
    """It recorded no positions; beginning at the first command would decide all of them twice."""
    cluster = Cluster()
    cluster.send_creates("u")
    cluster.decide(20, cluster.start())
    cluster.log.remove_key(EMAILS.name, POSITION_KEY)
    committed = cluster.log.committed[cluster.group.name]
    for place in list(committed):
        if offset is None:
            del committed[place]
        else:
            committed[place] = offset
    successor = cluster.start()
    with pytest.raises(Misconfigured, match="no valid offset") as caught:
        cluster.step_until(lambda: False, successor)
    assert caught.value.code == "lost_offsets"
    assert len(cluster.read(OUTCOMES)) == 20


def test_offsets_that_no_longer_exist_stop_a_deciding_handler() -> None:
    """The topic was deleted and created again under a running handler."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    for number in range(PARTITIONS):
        cluster.log.partitions[COMMANDS.name, number].entries.clear()
    with pytest.raises(Misconfigured, match="no longer exist") as caught:
        cluster.step_until(lambda: False, handler)
    assert caught.value.code == "lost_offsets"


def test_commands_deleted_by_retention_before_a_decision_are_passed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler that was down for longer logs their offsets and continues after them."""
    cluster = Cluster()
    cluster.send_creates("u")
    cluster.decide(20, cluster.start())
    cluster.send_creates("v")
    number = home_of("v0@example.com")
    log = cluster.log.partitions[COMMANDS.name, number]
    cluster.log.delete_before(COMMANDS.name, number, log.end - 1)
    deleted = log.end - 1 - cluster.log.committed[cluster.group.name][COMMANDS.name, number]
    cluster.decide_exactly_once(40 - deleted, cluster.start())
    assert "were deleted by retention before a decision" in caplog.text


def test_a_gap_in_the_log_of_commands_is_read_twice_and_passed() -> None:
    """A client's aborted transaction leaves one, in the middle of a batch as well."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    leave_a_gap(cluster, home_of("u0@example.com"))
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, handler)


def leave_a_gap(cluster: Cluster, number: int) -> None:
    """Append to a partition of commands what no reader receives."""
    foreign_writer = MemoryProducer(cluster.log, "foreign_writer", cluster.group.refusal, LOGGER)
    foreign_writer.init_transactions()
    foreign_writer.begin_transaction()
    foreign_writer.produce(COMMANDS.name, b"no avro", b"foreign", number)
    foreign_writer.abort_transaction()


@pytest.mark.parametrize("error", [failure(KafkaError._TRANSPORT), Unavailable("no broker")])
def test_brokers_are_asked_again_about_a_gap_if_they_do_not_answer(error: Exception) -> None:
    """The handler neither ends nor skips the command behind the gap."""
    cluster = Cluster()
    handler = cluster.ready()
    leave_a_gap(cluster, home_of(JANE))
    cluster.send(create(JANE))
    asked: list[str] = []

    def fail() -> None:
        asked.append("about the gap")
        raise error

    for _ in range(2):  # the command, and that there are no more
        cluster.log.before("poll", lambda: None)
    cluster.log.before("poll", fail)
    assert handler.run_once() == 0
    assert asked == ["about the gap"]
    cluster.decide_exactly_once(1, handler)


def test_a_stale_message_after_a_seek_skips_no_command() -> None:
    """The client delivers one from further on (confluent-kafka-python#1013); that is not a gap."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    consumer = cluster.clients["a"].consumer
    number = home_of("u0@example.com")
    last = cluster.log.partitions[COMMANDS.name, number].end - 1
    consumer.queued.append(consumer.message((COMMANDS.name, number), last))
    cluster.decide_exactly_once(20, handler)


def test_a_message_that_is_delivered_twice_is_decided_once() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    consumer = cluster.clients["a"].consumer
    number = home_of("u0@example.com")
    for _ in range(2):
        consumer.queued.append(consumer.message((COMMANDS.name, number), 0))
        assert handler.run_once() == 0
    cluster.assert_exactly_once(20)


def test_an_address_message_that_is_delivered_twice_is_applied_once() -> None:
    """Applying it again would change nothing, but its offset must not be committed again."""
    cluster = Cluster()
    handler = cluster.ready()
    away = (home_of("jane@example.com") + 1) % PARTITIONS
    cluster.send(create("jane@example.com", command_id="create"))
    cluster.decide(1, handler)
    user_id = cluster.read(OUTCOMES)[0][1]["user_id"]
    cluster.send(change_email(user_id, address_in(away)))
    cluster.decide(2, handler)
    cluster.step_until(lambda: handler.run_once() == 0, handler)
    consumer = cluster.clients["a"].consumer
    first = cluster.log.partitions[HOPS.name, away].next_visible(0)
    assert first is not None
    consumer.queued.append(consumer.message((HOPS.name, away), first))
    assert handler.run_once() == 0
