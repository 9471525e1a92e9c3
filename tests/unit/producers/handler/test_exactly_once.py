"""However a transaction ends, every command is decided once: nothing twice, nothing lost."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError

from runtime.process import StopSignal
from schemas.errors import Fenced
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HOPS, OUTCOMES, Topic
from tests.samples.given import PARTITIONS, create
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.stepping import Cluster


def fail(code: int, *, abortable: bool = False, retriable: bool = False) -> None:
    raise failure(code, abortable=abortable, retriable=retriable)


def test_commands_of_all_partitions_are_decided_and_committed() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide_exactly_once(20, handler)
    committed = cluster.log.committed[cluster.group.name]
    ends = {n: cluster.log.partitions[COMMANDS.name, n].end for n in range(PARTITIONS)}
    assert {n: committed[COMMANDS.name, n] for n in range(PARTITIONS)} == ends


def never_arrives(cluster: Cluster, request: str) -> None:
    cluster.log.before(request, lambda: fail(KafkaError._TIMED_OUT))


def must_abort(cluster: Cluster, request: str) -> None:
    cluster.log.before(request, lambda: fail(KafkaError._TIMED_OUT, abortable=True))


def times_out(cluster: Cluster, request: str) -> None:
    """Let the broker refuse the producer as it would a zombie."""
    cluster.log.before(request, lambda: cluster.log.time_out("a"))


@pytest.mark.parametrize(
    ("faults", "producers"),
    [
        ({"send_offsets_to_transaction": must_abort}, 1),
        ({"commit_transaction": must_abort}, 1),
        # A new producer raises the epoch, which ends the open transaction before the log is read.
        ({"commit_transaction": never_arrives}, 2),
        ({"commit_transaction": must_abort, "abort_transaction": never_arrives}, 2),
        # Not mistaken for another process.
        ({"commit_transaction": times_out}, 2),
    ],
)
def test_a_batch_that_was_not_committed_is_decided_again(
    faults: dict[str, Callable[[Cluster, str], None]], producers: int
) -> None:
    """The aborted transaction leaves records that no reader receives."""
    cluster = Cluster(transaction_timeout_seconds=1e-9)
    handler = cluster.ready()
    cluster.send_creates("u")
    for request, break_it in faults.items():
        break_it(cluster, request)
    assert handler.run_once() == 0
    assert (cluster.read(OUTCOMES), cluster.log.open) == ([], {})
    assert sum(cluster.log.partitions[EVENTS.name, n].end for n in range(PARTITIONS)) > 20
    assert len(cluster.clients["a"].producers) == producers
    cluster.decide_exactly_once(20, handler)


@pytest.mark.parametrize(
    "request_name", ["send_offsets_to_transaction", "commit_transaction", "init_transactions"]
)
def test_a_retriable_error_is_retried(request_name: str) -> None:
    cluster = Cluster()
    cluster.log.before(request_name, lambda: fail(KafkaError._TIMED_OUT, retriable=True))
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide_exactly_once(20, handler)


def test_a_commit_whose_answer_is_lost_is_read_from_the_log() -> None:
    """The commit took place, so after the restore nothing is decided a second time."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.log.after("commit_transaction", lambda: fail(KafkaError._TIMED_OUT))
    assert handler.run_once() == 0
    assert len(cluster.read(OUTCOMES)) == 20
    assert handler._ownership.ready() == {}
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, handler)
    assert len(cluster.clients["a"].producers) == 2


@pytest.mark.parametrize("moment", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_handler_that_is_fenced_at_its_commit_stops(moment: str) -> None:
    """A second process of its identity has begun: it decides the batch instead."""
    cluster = Cluster()
    old = cluster.ready()
    cluster.send_creates("u")
    successors = []
    cluster.log.before(moment, lambda: successors.append(cluster.start()))
    with pytest.raises(Fenced):
        old.run_once()
    assert cluster.read(OUTCOMES) == []
    cluster.decide_exactly_once(20, *successors)


def test_a_lost_connection_raises_the_epoch_before_the_next_transaction() -> None:
    """A late request of the transaction before must not end the next one."""
    cluster = Cluster()
    handler = cluster.ready()
    epoch = cluster.log.epochs["a"]
    cluster.clients["a"].producers[-1].logger.error("FAIL [thrd:broker]: disconnected")
    cluster.send_creates("u")
    cluster.decide_exactly_once(20, handler)
    assert cluster.log.epochs["a"] == epoch + 1


def test_a_broker_that_is_down_does_not_slow_the_others_down() -> None:
    """Nothing was sent over a connection that never was: the epoch need not be raised for it."""
    cluster = Cluster()
    handler = cluster.ready()
    epoch = cluster.log.epochs["a"]
    refused = (
        "Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)"
    )
    cluster.clients["a"].producers[-1].logger.error(f"FAIL [thrd:b:9092/2]: b:9092/2: {refused}")
    cluster.send_creates("u")
    cluster.decide_exactly_once(20, handler)
    assert cluster.log.epochs["a"] == epoch


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_commit_that_arrives_late_does_not_end_the_next_transaction(*, is_answered: bool) -> None:
    """Whether the client gave it up, or resent it over a new connection and got an answer."""
    cluster = Cluster()
    handler = cluster.ready()
    epoch = cluster.log.epochs["a"]
    lost = cluster.clients["a"].producers[-1].logger
    cluster.send_creates("u")
    if is_answered:
        cluster.log.after("commit_transaction", lambda: lost.error("FAIL [thrd:broker]: timed out"))
    else:
        cluster.log.before("commit_transaction", lambda: fail(KafkaError._TIMED_OUT))
    handler.run_once()
    cluster.send_creates("v")
    accepted = []

    def arrive() -> None:
        assert cluster.log.open
        accepted.append(cluster.log.end_late("a", epoch))

    cluster.log.before("send_offsets_to_transaction", arrive)
    cluster.decide(40, handler)
    assert accepted == [False]
    cluster.assert_exactly_once(40)


@pytest.mark.parametrize("topic", [COMMANDS, HOPS], ids=lambda topic: topic.name)
def test_a_poisoned_message_becomes_a_dead_letter_and_blocks_nothing(topic: Topic) -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.log.append(topic.name, 0, b"foreign", b"no avro")
    cluster.send_creates("u")
    cluster.decide_exactly_once(20, handler)
    [(_, letter)] = cluster.read(DEAD_LETTERS)
    assert (letter["topic"], letter["partition"], letter["offset"]) == (topic.name, 0, 0)
    assert (letter["error"], letter["reader"]) == ("wrong_magic", "handler")


def test_a_stopped_handler_leaves_its_loop() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    handler._stop.set()
    handler.run()
    cluster.send(create("late@example.com"))
    assert cluster.read(OUTCOMES) == []
    assert isinstance(handler._stop, StopSignal)
