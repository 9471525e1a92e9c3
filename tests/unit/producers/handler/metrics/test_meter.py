"""What a handler records while it decides, on the log in memory."""

import math
from typing import Any

import pytest
from confluent_kafka import KafkaError

from producers.handler.loop import CommandHandler
from producers.handler.metrics.meter import RecordingMeter
from producers.handler.open_segments import SegmentRoller
from producers.handler.partitions import restore
from runtime.metrics.health import Health
from runtime.metrics.recording import Values
from schemas.errors import Fenced
from schemas.topics import EVENTS, OUTCOMES
from tests.samples.given import PARTITIONS, address_in, change_email, create, home_of
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.stepping import Cluster

JANE = "jane@example.com"


class Metered:
    """A cluster whose only handler records."""

    def __init__(self, **settings: Any) -> None:
        self.values = Values()
        self.health = Health(self.values)
        self.cluster = Cluster(**settings)
        self.meter = RecordingMeter(self.health, self.values, self.cluster.settings)
        self.cluster.meter = self.meter

    def refresh(self, handler: CommandHandler) -> None:
        """Record now what is recorded once a second."""
        self.meter._due = 0.0
        self.meter.refresh(handler._ownership.phases, handler._roller)

    def number(self, name: str, *labels: str) -> float:
        return self.values.numbers(name).get(labels, math.nan)

    def observed(self, name: str) -> int:
        return sum(sum(counts) for _, counts, _ in self.values.histograms(name))


def test_answers_are_counted_by_kind_and_outcome() -> None:
    metered = Metered()
    handler = metered.cluster.ready()
    metered.cluster.send_creates("u")
    metered.cluster.decide(20, handler)
    metered.cluster.send_creates("u")  # repeats are answered again
    metered.cluster.send(create("u1@example.com", command_id="taken"))
    metered.cluster.decide(41, handler)
    assert metered.number("commands_decided_total", "CreateUser", "accepted") == 40
    assert metered.number("commands_decided_total", "CreateUser", "rejected") == 1
    assert metered.observed("command_seconds") == 41
    assert metered.observed("handler_restore_seconds") == PARTITIONS
    batches = metered.observed("handler_batch_commands")
    assert batches == metered.observed("handler_commit_seconds")
    assert batches == metered.observed("handler_decision_seconds")
    assert metered.number("handler_transactions_total", "committed") >= batches
    assert metered.number("process_ready") == 1


def test_a_kind_that_nobody_knows_gets_no_label_of_its_own() -> None:
    metered = Metered()
    handler = metered.cluster.ready()
    metered.cluster.send({**create(JANE), "kind": "Jane Doe"})
    metered.cluster.decide(1, handler)
    assert metered.number("commands_decided_total", "other", "rejected") == 1
    counted = metered.values.numbers("commands_decided_total")
    assert not [labels for labels in counted if "Jane Doe" in labels]


def test_of_a_large_batch_a_sample_counts_for_all() -> None:
    metered = Metered()
    handler = metered.cluster.ready()
    handler._size.most = 1_000
    metered.cluster.send_creates("u", 300)
    metered.cluster.decide(300, handler)
    assert abs(metered.observed("command_seconds") - 300) <= 300 / 8


def test_an_address_change_is_one_answer_and_its_claim_is_open_meanwhile() -> None:
    metered = Metered()
    cluster, other = metered.cluster, (home_of(JANE) + 1) % PARTITIONS
    handler = cluster.ready()
    cluster.send(create(JANE, command_id="create"))
    cluster.decide(1, handler)
    [(_, outcome)] = cluster.read(OUTCOMES)
    cluster.send(change_email(outcome["user_id"], address_in(other), command_id="change"))
    open_claims = []
    while not cluster.is_settled():
        handler.run_once()
        metered.refresh(handler)
        open_claims.append(metered.number("handler_open_claims"))
    assert max(open_claims) == 1
    assert open_claims[-1] == 0
    assert metered.number("commands_decided_total", "ChangeEmail", "accepted") == 1


@pytest.mark.parametrize(
    ("abortable", "result"), [(True, "aborted"), (False, "unknown")], ids=["aborted", "unknown"]
)
def test_a_transaction_counts_by_how_it_ends(abortable: bool, result: str) -> None:  # noqa: FBT001
    metered = Metered()
    handler = metered.cluster.ready()
    metered.cluster.send_creates("u")

    def fail() -> None:
        raise failure(KafkaError._TIMED_OUT, abortable=abortable)

    metered.cluster.log.before("commit_transaction", fail)
    handler.run_once()
    assert metered.number("handler_transactions_total", result) == 1
    assert metered.number("process_ready") == (result == "unknown")
    metered.cluster.decide(20, handler)
    assert metered.number("process_ready") == 1


def test_a_handler_that_was_replaced_counts_as_fenced() -> None:
    metered = Metered()
    handler = metered.cluster.ready()
    metered.cluster.send_creates("u")
    metered.cluster.log._fence("a")
    with pytest.raises(Fenced):
        metered.cluster.decide(20, handler)
    assert metered.number("handler_fenced_total") == 1


def test_a_restore_shows_its_progress_and_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "_STEP_MESSAGES", 1)
    metered = Metered()
    first = metered.cluster.ready()
    metered.cluster.send_creates("u")
    metered.cluster.decide(20, first)
    first.close()
    metered.cluster.group.expire("a")
    handler = metered.cluster.start("b")
    seen: set[tuple[str, ...]] = set()
    while len(handler._ownership.ready()) < PARTITIONS:
        handler.run_once()
        metered.refresh(handler)
        wanted = metered.values.numbers("handler_restore_records")
        passed = metered.values.numbers("handler_restored_records")
        assert passed.keys() == wanted.keys()
        assert all(0 <= passed[one] <= wanted[one] for one in wanted)
        seen |= wanted.keys()
        states = metered.values.numbers("handler_partitions")
        assert sum(states.values()) in {0, PARTITIONS}
    assert seen
    assert metered.values.numbers("handler_restore_records") == {}
    assert states["ready",] == PARTITIONS


def test_the_age_of_an_open_segment_counts_from_its_oldest_record() -> None:
    hour = 3_600_000
    roller = SegmentRoller({EVENTS.name: hour})
    metered = Metered()
    handler = metered.cluster.ready()
    handler._roller = roller
    now = 1_790_000_000_000
    assert roller.ages(now)[EVENTS.name][0] == 0
    roller.follow({n: one.state for n, one in handler._ownership.ready().items()}, now)
    roller.written([(EVENTS.name, 0)], now, now)
    age, limit = roller.ages(now + 5_000)[EVENTS.name]
    assert (age, limit) == (5_000, hour + hour // 12 + 1_000)
    roller.rolled([(EVENTS.name, 0)], now + 2 * hour)
    assert roller.ages(now + 2 * hour)[EVENTS.name][0] == 0
    metered.refresh(handler)
    assert metered.number("handler_open_segment_limit_seconds", EVENTS.name) == limit / 1000
