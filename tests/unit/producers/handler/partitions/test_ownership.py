"""Partitions that move, are lost, are restored: each is decided by one handler, without a gap."""

import logging

from producers.handler.loop import CommandHandler
from schemas.topics import COMMANDS, EVENTS, HOPS, OUTCOMES
from tests.samples.given import PARTITIONS, address_in, change_email, create, home_of
from tests.unit.producers.handler.in_memory.log import MemoryProducer
from tests.unit.producers.handler.in_memory.stepping import Cluster, sizes

LOGGER = logging.getLogger("unused")
JANE = "jane@example.com"
FAR = address_in((home_of(JANE) + 1) % PARTITIONS)


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
    cluster.decide_exactly_once(40, first, second)


def test_partitions_revoked_by_the_poll_that_brought_their_commands_are_left_out() -> None:
    """The commands already polled belong to the new owner."""
    cluster = Cluster()
    first = cluster.ready()
    email = address_in(PARTITIONS - 1)  # the second half moves
    cluster.send(create(email, command_id="one"), create(email, command_id="two"))
    second = cluster.start("b")
    for _ in range(3):  # two commands and then an empty poll: the first chunk
        cluster.log.before("poll", lambda: None)
    cluster.log.before("poll", second.run_once)
    assert first.run_once() == 0
    assert sizes(first) == [PARTITIONS // 2]
    cluster.decide(2, first, second)
    assert [one["code"] for _, one in cluster.read(OUTCOMES)] == [None, "user_already_exists"]


def take_over(cluster: Cluster, successor: CommandHandler) -> None:
    """End the session of the member `a`; its successor then waits for its open transaction."""
    cluster.group.expire("a")
    for _ in range(3 * PARTITIONS):
        successor.run_once()
    assert sizes(successor) == [0]
    assert successor._ownership._partitions.keys() == set(range(PARTITIONS))


def test_a_batch_whose_partitions_move_while_it_is_decided_is_refused() -> None:
    """Its member's session has ended; the new owner waits for the transaction that it left open."""
    cluster = Cluster()
    slow = cluster.ready()
    cluster.send_creates("u")
    successor = cluster.start("b")
    cluster.log.before("send_offsets_to_transaction", lambda: take_over(cluster, successor))
    assert slow.run_once() == 0
    assert cluster.read(OUTCOMES) == []
    cluster.decide(20, successor)
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, slow, successor)


def test_a_zombie_whose_transaction_timed_out_changes_nothing() -> None:
    """Paused for longer than session and transaction: another has decided its batch meanwhile."""
    cluster = Cluster(transaction_timeout_seconds=1e-9)
    zombie = cluster.ready()
    cluster.send_creates("u")
    successor = cluster.start("b")

    def pause() -> None:
        cluster.group.expire("a")
        cluster.log.time_out("a")
        cluster.decide(20, successor)

    cluster.log.before("send_offsets_to_transaction", pause)
    assert zombie.run_once() == 0
    cluster.assert_exactly_once(20)
    cluster.step_until(lambda: sizes(zombie, successor) == [2, 2], zombie, successor)
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, zombie, successor)


def test_lost_partitions_are_forgotten_and_restored_when_they_return() -> None:
    """A member whose session ended loses all; it rejoins, restores and continues deciding."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    before = handler._ownership.ready()
    cluster.group.expire("a")
    cluster.send_creates("v")
    assert handler.run_once() == 0
    assert sizes(handler) == [0]
    cluster.decide_exactly_once(40, handler)
    after = handler._ownership.ready()
    assert all(after[number].state is not before[number].state for number in range(PARTITIONS))


def test_a_member_that_the_group_fences_joins_again() -> None:
    """After an outage the broker may mistake it for a second process; offsets stay exact."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    before = cluster.clients["a"].consumer
    cluster.group.join("a")
    cluster.decide(20, handler)
    assert cluster.clients["a"].consumer is not before
    cluster.assert_exactly_once(20)


def test_a_partition_is_restored_while_the_others_keep_deciding() -> None:
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
    cluster.decide_exactly_once(20, handler)


def test_offsets_that_a_predecessor_may_still_commit_are_waited_for() -> None:
    """The group accepted them before it moved the partitions, so the commit is valid (KIP-447)."""
    cluster = Cluster()
    slow = cluster.ready()
    cluster.send_creates("u")
    successor = cluster.start("b")
    cluster.log.after("send_offsets_to_transaction", lambda: take_over(cluster, successor))
    assert slow.run_once() == 20
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, successor)


def test_open_grants_are_sent_again_after_a_restore() -> None:
    """A handler died between granting an address and answering; the first grant left the log."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create(JANE, command_id="create"))
    cluster.decide(1, handler)
    user_id = cluster.read(OUTCOMES)[0][1]["user_id"]
    cluster.send(change_email(user_id, FAR))
    cluster.step_until(lambda: kinds(cluster) == ["granted", "reserve"], handler)
    # The grant is gone before its home partition has read it.
    home = cluster.log.partitions[HOPS.name, home_of(JANE)]
    cluster.log.delete_before(HOPS.name, home_of(JANE), home.end)
    successor = cluster.start()
    cluster.step_until(lambda: "release" in kinds(cluster), successor)
    messages = [message for _, message in cluster.read(HOPS)]
    assert [one["again"] for one in messages if one["kind"] == "granted"] == [True]


def kinds(cluster: Cluster) -> list[str]:
    """Return the kinds of the address messages on the log, in alphabetical order."""
    return sorted(message["kind"] for _, message in cluster.read(HOPS))
