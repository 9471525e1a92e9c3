"""When a topic and partition is appended to, so that its open segment closes in time."""

import time
from collections.abc import Callable
from random import Random

import pytest
from confluent_kafka import KafkaError

from producers.domain.outcome_window import OutcomeWindow
from producers.domain.state import PartitionState
from producers.handler.open_segments import SegmentRoller
from schemas.identity import SHARDS, new_user_id
from schemas.topics import EMAILS, EVENTS, HISTORY, OUTCOMES
from tests.depth import depth
from tests.samples.given import PARTITIONS, address_in, change_email, create, update
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.stepping import Cluster

MINUTE = 60_000
HOUR = 60 * MINUTE
NOW = 1_790_000_000_000
USER_IDS = [new_user_id(shard, 1, 1) for shard in range(0, SHARDS, 97)]
CLOSES = HOUR + HOUR // 12 + 2_000
PLACE = ("events", 0)


def state(last_time: int = 0) -> PartitionState:
    """Return a state whose last record is of this time."""
    one = PartitionState(0, PARTITIONS, OutcomeWindow(1, 1))
    one.last_time = last_time
    return one


def roller_of_new_partition() -> SegmentRoller:
    roller = SegmentRoller({"events": HOUR})
    roller.follow({0: state()}, NOW)
    return roller


def test_a_place_is_due_once_its_oldest_record_is_older_than_a_segment() -> None:
    roller = roller_of_new_partition()
    assert roller.due(NOW + 10 * HOUR) == []
    roller.written([PLACE], NOW, NOW + 10)
    assert roller.due(NOW + HOUR) == []
    assert roller.due(NOW + CLOSES) == [PLACE]
    roller.rolled([PLACE], NOW + CLOSES)
    assert roller.due(NOW + 10 * HOUR) == []


def test_a_place_that_is_written_to_all_the_time_closes_its_segments_itself() -> None:
    roller = roller_of_new_partition()
    for minute in range(0, 300, 4):
        roller.written([PLACE], NOW + minute * MINUTE, NOW + minute * MINUTE + 10)
        assert roller.due(NOW + (minute + 4) * MINUTE) == []


def test_a_record_written_shortly_before_an_append_needs_another_one() -> None:
    """The first closes the segment only if that is old enough, which is uncertain."""
    roller = roller_of_new_partition()
    roller.written([PLACE], NOW, NOW)
    roller.written([PLACE], NOW + HOUR - 1, NOW + HOUR - 1)
    roller.rolled([PLACE], NOW + CLOSES)
    assert roller.due(NOW + CLOSES) == []
    assert roller.due(NOW + HOUR + CLOSES) == [PLACE]


def test_records_that_are_refused_close_no_segment() -> None:
    """Every transaction fails, so nothing is appended: the old record is still in its segment."""
    roller = roller_of_new_partition()
    roller.written([PLACE], NOW, NOW)
    for minute in range(1, 90):
        roller.attempted([PLACE], NOW + minute * MINUTE, NOW + minute * MINUTE)
    assert roller.due(NOW + CLOSES) == [PLACE]


def test_records_of_a_failed_transaction_may_be_in_the_segment() -> None:
    roller = roller_of_new_partition()
    roller.attempted([PLACE], NOW, NOW + 10)
    assert roller.due(NOW + CLOSES) == [PLACE]
    roller.rolled([PLACE], NOW + CLOSES)
    assert roller.due(NOW + 10 * HOUR) == []


def test_a_slow_transaction_counts_from_its_end() -> None:
    """Its records may be as late as that; an append before they are old closes nothing."""
    roller = roller_of_new_partition()
    roller.written([PLACE], NOW, NOW + 30 * MINUTE)
    roller.rolled([PLACE], NOW + CLOSES)
    assert roller.due(NOW + 2 * CLOSES) == [PLACE]


def test_a_clock_that_was_set_back_delays_the_append() -> None:
    """The segment begins with a later time, which the append has to exceed."""
    roller = roller_of_new_partition()
    roller.rolled([PLACE], NOW + 3 * HOUR)
    roller.written([PLACE], NOW, NOW)
    assert roller.due(NOW + CLOSES) == []
    assert roller.due(NOW + 3 * HOUR + CLOSES) == [PLACE]


def test_a_restored_partition_is_due_at_once_and_until_nothing_old_is_open() -> None:
    """Its last records may have been written, and aborted, just before the restore."""
    roller = SegmentRoller({"events": HOUR})
    roller.follow({0: state(last_time=1)}, NOW)
    assert roller.due(NOW) == [PLACE]
    roller.rolled([PLACE], NOW)
    assert roller.due(NOW) == []
    assert roller.due(NOW + CLOSES - HOUR) == [PLACE]
    roller.rolled([PLACE], NOW + CLOSES)
    assert roller.due(NOW + 10 * HOUR) == []


def test_a_partition_that_was_lost_is_not_due() -> None:
    roller = SegmentRoller({"events": HOUR})
    roller.follow({0: state(last_time=1)}, NOW)
    roller.follow({}, NOW)
    assert roller.due(NOW + HOUR) == []
    roller.follow({0: state(last_time=1)}, NOW + HOUR)
    assert roller.due(NOW + HOUR) == [PLACE]


class Clock:
    """The time of the handlers and of the log, set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = NOW
        monkeypatch.setattr(time, "time_ns", lambda: self.ms * 1_000_000)


ROLL_AFTER_MS = {EVENTS.name: 6 * HOUR, HISTORY.name: 24 * HOUR, EMAILS.name: 6 * HOUR}


def oldest_open_ms(cluster: Cluster, topic: str, number: int) -> int | None:
    """Return the time of the oldest record of data in the open segment; None without one."""
    segment = cluster.log.partitions[topic, number].open_segment(ROLL_AFTER_MS[topic])
    times = [one.at_ms for one in segment if one.key and one.key != b"housekeeping"]
    return min(times, default=None)


@pytest.mark.parametrize("seed", range(depth(2, 60)))
def test_no_record_stays_in_an_open_segment(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is busy or idle, for days: rejected commands, creations, changes, restarts."""
    chance, clock = Random(seed), Clock(monkeypatch)
    cluster = Cluster()
    cluster.roll_after_ms = ROLL_AFTER_MS
    handler = cluster.ready()
    rates = [chance.choice((0.0, 0.01, 0.2)) for _ in range(4)]
    for step in range(400):
        clock.ms += chance.randint(MINUTE, 20 * MINUTE)
        if chance.random() < rates[0]:
            cluster.send(create(address_in(chance.randrange(PARTITIONS), f"u{step}x")))
        if chance.random() < rates[1]:
            cluster.send(update(chance.choice(USER_IDS), age=1, command_id=f"rejected-{step}"))
        created = [one["user_id"] for _, one in cluster.read(OUTCOMES) if one["version"]]
        if created and chance.random() < rates[2]:
            email = address_in(chance.randrange(PARTITIONS), f"m{step}x")
            cluster.send(change_email(chance.choice(created), email, command_id=f"move-{step}"))
        if chance.random() < rates[3]:
            handler = cluster.ready()
        for _ in range(3):
            clock.ms += 1_000  # segments are rolled once a second
            handler.run_once()
        for topic, number in cluster.log.partitions:
            oldest = oldest_open_ms(cluster, topic, number) if topic in ROLL_AFTER_MS else None
            if oldest is not None:
                roll_after = ROLL_AFTER_MS[topic]
                assert clock.ms - oldest <= roll_after + roll_after // 12 + 21 * MINUTE
    appended = sum(
        entry.key == b"housekeeping"
        for log in cluster.log.partitions.values()
        for entry in log.entries
    )
    assert appended < 4_000


def test_an_append_is_an_aborted_record_which_no_reader_receives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    cluster = Cluster()
    cluster.roll_after_ms = {EVENTS.name: HOUR}
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    events = cluster.read(EVENTS)
    ends = [cluster.log.partitions[EVENTS.name, n].end for n in range(PARTITIONS)]
    clock.ms += CLOSES
    for _ in range(3):
        assert handler.run_once() == 0
    now_ends = [cluster.log.partitions[EVENTS.name, n].end for n in range(PARTITIONS)]
    assert now_ends == [end + 2 for end in ends]
    assert cluster.read(EVENTS) == events
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, handler)


def test_an_append_that_is_uncertain_is_repeated_by_a_new_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    cluster = Cluster()
    cluster.roll_after_ms = {EVENTS.name: HOUR}
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    clock.ms += CLOSES

    def lose() -> None:
        raise failure(KafkaError._TIMED_OUT)

    cluster.log.before("abort_transaction", lose)
    assert handler.run_once() == 0
    assert len(cluster.clients["a"].producers) == 2
    assert cluster.log.open == {}
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, handler)


def test_a_refused_record_closes_no_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that denies writing reports that only for the record."""
    cluster = Cluster()
    handler = cluster.ready()
    denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)

    def produce(_topic: str, *, on_delivery: Callable[..., None], **_record: object) -> None:
        on_delivery(denied, None)

    assert handler._transactions.append_aborted([("user-hops", 0)])
    monkeypatch.setattr(cluster.clients["a"].producers[-1], "produce", produce)
    assert not handler._transactions.append_aborted([("user-hops", 0)])
