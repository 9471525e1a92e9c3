"""Partitions that move, are lost, are restored: each is decided by one handler, without a gap."""

import logging

import pytest
from confluent_kafka import KafkaError

from producers.handler.loop import CommandHandler
from schemas.errors import Misconfigured
from schemas.topics import COMMANDS, EVENTS, HOPS, OUTCOMES
from tests.given import PARTITIONS, address_in, change_email, create, home_of
from tests.unit.producers.handler.memory_log import MemoryProducer, failure
from tests.unit.producers.handler.stepping import Cluster

LOGGER = logging.getLogger("unused")
JANE = "jane@example.com"
FAR = address_in((home_of(JANE) + 1) % PARTITIONS)


def sizes(*handlers: CommandHandler) -> list[int]:
    """Return how many partitions each handler decides."""
    return [len(handler._ownership.ready()) for handler in handlers]


def test_a_rebalance_between_two_batches_moves_half_of_the_partitions() -> None:
    """What stays is not restored again; each command is decided by its partition's owner."""
    cluster = Cluster()
    first = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, first)
    states = {number: ready.state for number, ready in first._ownership.ready().items()}
    second = cluster.start("b")
    cluster.step_until(lambda: sizes(first, second) == [2, 2], first, second)
    kept = first._ownership.ready()
    assert all(ready.state is states[number] for number, ready in kept.items())
    assert kept.keys() | second._ownership.ready().keys() == set(range(PARTITIONS))
    cluster.send_creates("v")
    cluster.decide(40, first, second)
    cluster.assert_exactly_once(40)


def test_a_batch_whose_partitions_move_while_it_is_decided_is_refused() -> None:
    """Its member's session has ended; the new owner waits for the transaction that it left open."""
    cluster = Cluster()
    slow = cluster.ready()
    cluster.send_creates("u")
    heir = cluster.start("b")

    def take_over() -> None:
        cluster.group.expire("a")
        for _ in range(3 * PARTITIONS):
            heir.run_once()
        assert sizes(heir) == [0]
        assert heir._ownership._partitions.keys() == set(range(PARTITIONS))

    cluster.log.before("send_offsets_to_transaction", take_over)
    assert slow.run_once() == 0
    assert cluster.read(OUTCOMES) == []
    cluster.decide(20, heir)
    cluster.send_creates("v")
    cluster.decide(40, slow, heir)
    cluster.assert_exactly_once(40)


def test_a_zombie_whose_transaction_timed_out_changes_nothing() -> None:
    """Paused for longer than session and transaction: another has decided its batch meanwhile."""
    cluster = Cluster(transaction_timeout_seconds=1e-9)
    zombie = cluster.ready()
    cluster.send_creates("u")
    heir = cluster.start("b")

    def pause() -> None:
        cluster.group.expire("a")
        cluster.log.time_out("a")
        cluster.decide(20, heir)

    cluster.log.before("send_offsets_to_transaction", pause)
    assert zombie.run_once() == 0
    cluster.assert_exactly_once(20)
    cluster.step_until(lambda: sizes(zombie, heir) == [2, 2], zombie, heir)
    cluster.send_creates("v")
    cluster.decide(40, zombie, heir)
    cluster.assert_exactly_once(40)


def test_lost_partitions_are_forgotten_and_restored_when_they_return() -> None:
    """A member whose session ended loses all; it joins again and decides on from the log."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    before = handler._ownership.ready()
    cluster.group.expire("a")
    cluster.send_creates("v")
    assert handler.run_once() == 0
    assert sizes(handler) == [0]
    cluster.decide(40, handler)
    cluster.assert_exactly_once(40)
    after = handler._ownership.ready()
    assert all(after[number].state is not before[number].state for number in range(PARTITIONS))


def test_a_member_that_the_group_fences_joins_again() -> None:
    """After an outage the broker may mistake its own return for a twin's; offsets stay exact."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    before = cluster.clients["a"].consumer
    cluster.group.join("a")
    cluster.decide(20, handler)
    assert cluster.clients["a"].consumer is not before
    cluster.assert_exactly_once(20)


def test_a_partition_is_restored_while_the_others_go_on_deciding() -> None:
    """One waits for a predecessor's open transaction; commands of the others are answered."""
    cluster = Cluster()
    cluster.send_creates("u")
    predecessor = MemoryProducer(cluster.log, "predecessor", cluster.group.refusal, LOGGER)
    predecessor.init_transactions()
    predecessor.begin_transaction()
    predecessor.produce(EVENTS.name, b"no avro", b"foreign", 0)
    handler = cluster.start()
    own = sum(cluster.log.partitions[COMMANDS.name, number].end for number in (1, 2, 3))
    cluster.decide(own, handler)
    cluster.step_until(lambda: sizes(handler) == [3], handler)
    assert {number for number, _ in cluster.read(OUTCOMES)} == {1, 2, 3}
    predecessor.abort_transaction()
    cluster.decide(20, handler)
    cluster.assert_exactly_once(20)


def test_offsets_that_a_predecessor_may_still_commit_are_waited_for() -> None:
    """The group accepted them before it moved the partitions: the commit stands (KIP-447)."""
    cluster = Cluster()
    slow = cluster.ready()
    cluster.send_creates("u")
    heir = cluster.start("b")

    def take_over() -> None:
        cluster.group.expire("a")
        for _ in range(3 * PARTITIONS):
            heir.run_once()
        assert sizes(heir) == [0]

    cluster.log.after("send_offsets_to_transaction", take_over)
    assert slow.run_once() == 20
    cluster.send_creates("v")
    cluster.decide(40, heir)
    cluster.assert_exactly_once(40)


def test_missing_offsets_over_decided_commands_are_a_loud_stop() -> None:
    """To begin at the first command would decide all of them twice."""
    cluster = Cluster()
    cluster.send_creates("u")
    cluster.decide(20, cluster.start())
    cluster.log.committed.clear()
    successor = cluster.start()
    with pytest.raises(Misconfigured, match="no valid offset") as caught:
        cluster.step_until(lambda: sizes(successor) == [PARTITIONS], successor)
    assert caught.value.code == "lost_offsets"
    assert len(cluster.read(OUTCOMES)) == 20


def test_offsets_behind_the_decided_commands_are_a_loud_stop() -> None:
    cluster = Cluster()
    cluster.send_creates("u")
    cluster.decide(20, cluster.start())
    for place in cluster.log.committed[cluster.group.name]:
        cluster.log.committed[cluster.group.name][place] = 0
    successor = cluster.start()
    with pytest.raises(Misconfigured, match="no valid offset"):
        cluster.step_until(lambda: sizes(successor) == [PARTITIONS], successor)


def test_offsets_that_no_longer_exist_while_deciding_are_a_loud_stop() -> None:
    """The topic was deleted and created again under a running handler."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    for number in range(PARTITIONS):
        cluster.log.partitions[COMMANDS.name, number].entries.clear()
    with pytest.raises(Misconfigured, match="no longer exist") as caught:
        handler.run_once()
    assert caught.value.code == "lost_offsets"


def test_commands_deleted_by_retention_before_a_decision_are_passed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler that was down for longer says which, and goes on with the first that is left."""
    cluster = Cluster()
    cluster.send_creates("u")
    cluster.decide(20, cluster.start())
    cluster.send_creates("v")
    number = home_of("v0@example.com")
    log = cluster.log.partitions[COMMANDS.name, number]
    cluster.log.delete_before(COMMANDS.name, number, log.end - 1)
    deleted = log.end - 1 - cluster.log.committed[cluster.group.name][COMMANDS.name, number]
    cluster.decide(40 - deleted, cluster.start())
    cluster.assert_exactly_once(40 - deleted)
    assert "were deleted by retention before a decision" in caplog.text


def test_a_gap_in_the_log_of_commands_is_read_twice_and_passed() -> None:
    """A client's aborted transaction leaves one, in the middle of a batch as well."""
    cluster = Cluster()
    handler = cluster.ready()
    number = home_of("u0@example.com")
    cluster.send_creates("u")
    stranger = MemoryProducer(cluster.log, "stranger", cluster.group.refusal, LOGGER)
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.produce(COMMANDS.name, b"no avro", b"foreign", number)
    stranger.abort_transaction()
    cluster.send_creates("v")
    cluster.decide(40, handler)
    cluster.assert_exactly_once(40)


def test_a_stale_message_after_a_seek_skips_no_command() -> None:
    """The client delivers one from further on (confluent-kafka-python#1013): that is no gap."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    consumer = cluster.clients["a"].consumer
    number = home_of("u0@example.com")
    last = cluster.log.partitions[COMMANDS.name, number].end - 1
    consumer.queued.append(consumer.message((COMMANDS.name, number), last))
    cluster.decide(20, handler)
    cluster.assert_exactly_once(20)


def test_a_message_that_is_delivered_twice_is_decided_once() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    consumer = cluster.clients["a"].consumer
    number = home_of("u0@example.com")
    consumer.queued.append(consumer.message((COMMANDS.name, number), 0))
    assert handler.run_once() == 0
    cluster.assert_exactly_once(20)


def test_open_grants_are_sent_again_after_a_restore() -> None:
    """A handler died between granting an address and answering; the first grant left the log."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create(JANE, command_id="create"))
    cluster.decide(1, handler)
    user_id = cluster.read(OUTCOMES)[0][1]["user_id"]
    cluster.send(change_email(user_id, FAR))
    cluster.step_until(lambda: kinds(cluster) == ["granted", "reserve"], handler)
    # What was sent home is gone before it was read there.
    home = cluster.log.partitions[HOPS.name, home_of(JANE)]
    cluster.log.delete_before(HOPS.name, home_of(JANE), home.end)
    successor = cluster.start()
    cluster.step_until(lambda: "release" in kinds(cluster), successor)
    granted = [hop for _, hop in cluster.read(HOPS) if hop["kind"] == "granted"]
    assert [hop["again"] for hop in granted] == [True]


def kinds(cluster: Cluster) -> list[str]:
    """Return the kinds of the address messages on the log, in alphabetical order."""
    return sorted(hop["kind"] for _, hop in cluster.read(HOPS))


def test_idle_partitions_have_their_segments_closed_once() -> None:
    """By an aborted record in each compacted topic, which no reader is given."""
    cluster = Cluster()
    cluster.roll_after_ms = {EVENTS.name: -10_000}
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    ends = [cluster.log.partitions[EVENTS.name, n].end for n in range(PARTITIONS)]
    events = cluster.read(EVENTS)
    for _ in range(3):
        assert handler.run_once() == 0
    assert [cluster.log.partitions[EVENTS.name, n].end for n in range(PARTITIONS)] == [
        end + 2 for end in ends
    ]
    assert cluster.read(EVENTS) == events
    cluster.send_creates("v")
    cluster.decide(40, handler)
    cluster.assert_exactly_once(40)


def test_segments_whose_append_is_uncertain_are_closed_with_a_new_producer() -> None:
    cluster = Cluster()
    cluster.roll_after_ms = {EVENTS.name: -10_000}
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)

    def lose() -> None:
        raise failure(KafkaError._TIMED_OUT)

    cluster.log.before("abort_transaction", lose)
    assert handler.run_once() == 0
    assert len(cluster.clients["a"].producers) == 2
    assert cluster.log.open == {}
    cluster.send_creates("v")
    cluster.decide(40, handler)
    cluster.assert_exactly_once(40)
