"""When an idle partition is appended to, so that its last segment can be cleaned."""

from confluent_kafka import KafkaError

from producers.handler.idle_segments import SegmentRoller
from schemas.topics import EVENTS
from tests.given import PARTITIONS
from tests.unit.producers.handler.memory_log import failure
from tests.unit.producers.handler.stepping import Cluster

HOUR = 3_600_000
NOW = 1_790_000_000_000


def test_an_idle_partition_is_due_once_for_each_topic_when_its_segment_is_old() -> None:
    """Later in topics whose segments live longer."""
    roller = SegmentRoller({"events": 6 * HOUR, "history": 24 * HOUR})
    idle = {0: NOW - 7 * HOUR, 1: NOW - HOUR}
    assert roller.due(idle, NOW) == [("events", 0)]
    roller.rolled([("events", 0)], idle)
    assert roller.due(idle, NOW) == []
    assert roller.due(idle, NOW + 18 * HOUR) == [("events", 1), ("history", 0)]


def test_it_is_due_again_after_it_was_written_to_and_fell_idle() -> None:
    """What was written since is in a new segment."""
    roller = SegmentRoller({"events": HOUR})
    roller.rolled([("events", 0)], {0: NOW})
    assert roller.due({0: NOW}, NOW + 2 * HOUR) == []
    assert roller.due({0: NOW + HOUR}, NOW + 3 * HOUR) == [("events", 0)]


def test_a_partition_without_any_record_is_never_due() -> None:
    """There is nothing to clean."""
    assert SegmentRoller({"events": HOUR}).due({0: 0}, NOW) == []


def test_idle_partitions_have_their_segments_closed_once() -> None:
    """By an aborted record in each compacted topic, which no reader receives."""
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
    cluster.decide_exactly_once(40, handler)


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
    cluster.decide_exactly_once(40, handler)
