"""Commands with the context of a trace, decided by handlers over the in-memory log."""

from functools import partial

import pytest
from confluent_kafka import KafkaError

from producers.handler.loop import CommandHandler
from producers.handler.traced_batch import TracedBatch
from runtime.tracing.tracing import Tracing
from schemas.topics import COMMANDS, EVENTS, HISTORY, HOPS, OUTCOMES, Topic
from tests.observed.spans import SpansInMemory, paths
from tests.samples.given import address_in, change_email, create, home_of, update
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.stepping import Cluster, Headers

JANE = "jane@example.com"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SENDER = "b7ad6b7169203331"
SAMPLED = (("traceparent", f"00-{TRACE}-{SENDER}-01".encode()), ("tracestate", b"vendor=1"))
UNSAMPLED = (("traceparent", f"00-{TRACE}-{SENDER}-00".encode()), ("tracestate", b"vendor=1"))


def headers_in(cluster: Cluster, topic: Topic) -> list[Headers]:
    """Return the headers of every committed record of a topic."""
    return [
        entry.headers
        for (name, _), log in cluster.log.partitions.items()
        for entry in log.entries
        if name == topic.name and entry.is_visible()
    ]


@pytest.fixture
def spans() -> SpansInMemory:
    return SpansInMemory()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def handler(cluster: Cluster, spans: SpansInMemory) -> CommandHandler:
    tracing = Tracing(spans.tracer)
    return cluster.ready(new_batch=partial(TracedBatch, tracing=tracing, group="group"))


def create_jane(cluster: Cluster, handler: CommandHandler, headers: Headers = ()) -> str:
    cluster.send(create(JANE), headers=headers)
    cluster.decide(1, handler)
    user_id: str = cluster.read(EVENTS)[0][1]["user_id"]
    return user_id


def test_events_carry_the_trace_of_their_command(
    cluster: Cluster, handler: CommandHandler, spans: SpansInMemory
) -> None:
    """The span that sends the event is below that of the decision, which the sender's is above."""
    user_id = create_jane(cluster, handler, SAMPLED)
    [batch] = [span for span in spans.seen() if span.trace != TRACE]
    decided, sent = [span for span in spans.seen() if span.trace == TRACE]
    assert (decided.name, decided.kind, decided.parent) == (
        "process user-commands",
        "consumer",
        SENDER,
    )
    assert (sent.name, sent.kind, sent.parent) == ("send user-events", "producer", decided.id)
    assert decided.start_ns < sent.start_ns < sent.end_ns
    assert decided.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "user-commands",
        "messaging.destination.partition.id": str(home_of(JANE)),
        "messaging.consumer.group.name": "group",
        "messaging.kafka.offset": 0,
        "rollbook.command.id": create(JANE)["command_id"],
        "rollbook.command.kind": "CreateUser",
        "rollbook.outcome": "accepted",
        "rollbook.user.id": user_id,
        "rollbook.user.version": 1,
    }
    assert (batch.parent, batch.links) == ("", frozenset({SENDER}))
    assert batch.attributes["messaging.batch.message_count"] == 1
    assert decided.links == sent.links == {batch.id}
    carried = {"traceparent": f"00-{TRACE}-{sent.id}-01".encode(), "tracestate": b"vendor=1"}
    for topic in (EVENTS, HISTORY):
        assert [dict(headers) for headers in headers_in(cluster, topic)] == [carried]
    assert headers_in(cluster, OUTCOMES) == [()]


def test_what_is_not_sampled_makes_no_span_and_is_passed_on(
    cluster: Cluster, handler: CommandHandler, spans: SpansInMemory
) -> None:
    create_jane(cluster, handler, UNSAMPLED)
    assert spans.seen() == []
    assert [set(headers) for headers in headers_in(cluster, EVENTS)] == [set(UNSAMPLED)]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("other", b"x"),),
        (("traceparent", b""),),
        (("traceparent", b"\xff\x00"),),
        (("traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"),),
        (("traceparent", b"ff" + SAMPLED[0][1][2:]),),
        (("traceparent", SAMPLED[0][1] + b"0" * 1_000_000),),
        (SAMPLED[0], SAMPLED[0]),
    ],
)
def test_a_malformed_context_is_ignored(
    cluster: Cluster, handler: CommandHandler, spans: SpansInMemory, headers: Headers
) -> None:
    """It is no reason for a dead letter: the command is decided like any other."""
    create_jane(cluster, handler, headers)
    cluster.assert_exactly_once(1)
    assert spans.seen() == []
    assert headers_in(cluster, EVENTS) == [()]


@pytest.mark.parametrize("context", [SAMPLED[0], UNSAMPLED[0]])
def test_a_hostile_tracestate_is_left_out(
    cluster: Cluster, handler: CommandHandler, context: tuple[str, bytes]
) -> None:
    create_jane(cluster, handler, (context, ("tracestate", b"a=" + b"x" * 100_000)))
    assert [[name for name, _ in each] for each in headers_in(cluster, EVENTS)] == [["traceparent"]]


def test_a_rejection_shows_its_code(
    cluster: Cluster, handler: CommandHandler, spans: SpansInMemory
) -> None:
    create_jane(cluster, handler)
    cluster.send(create(JANE, command_id="again"), headers=SAMPLED)
    cluster.decide(2, handler)
    [span] = [span for span in spans.seen() if span.trace == TRACE]
    assert span.attributes["rollbook.outcome"] == "rejected"
    assert span.attributes["rollbook.code"] == "user_already_exists"
    assert not span.failed


def test_a_poisoned_command_shows_the_code_of_its_dead_letter(
    cluster: Cluster, handler: CommandHandler, spans: SpansInMemory
) -> None:
    cluster.log.append(COMMANDS.name, 0, b"key", b"no command", SAMPLED)
    cluster.step_until(cluster.is_settled, handler)
    [span] = [span for span in spans.seen() if span.trace == TRACE]
    assert span.failed
    assert span.attributes["error.type"] == "wrong_magic"


def test_an_aborted_batch_fails_its_spans_and_the_next_attempt_has_others(
    cluster: Cluster, handler: CommandHandler, spans: SpansInMemory
) -> None:
    def fail() -> None:
        raise failure(KafkaError._TIMED_OUT, abortable=True)

    cluster.log.before("commit_transaction", fail)
    create_jane(cluster, handler, SAMPLED)
    found = [(s.name, s.failed) for s in spans.seen() if s.trace == TRACE]
    names = ["process user-commands", "send user-events"]
    assert found == [(name, True) for name in names] + [(name, False) for name in names]
    failed = {s.attributes.get("error.type") for s in spans.seen() if s.failed}
    assert failed == {"kafka_unavailable"}
    cluster.assert_exactly_once(1)


def test_one_trace_follows_an_address_change_through_both_partitions(
    cluster: Cluster, handler: CommandHandler, spans: SpansInMemory
) -> None:
    user_id = create_jane(cluster, handler)
    elsewhere = address_in((home_of(JANE) + 1) % 4)
    cluster.send(change_email(user_id, elsewhere), headers=SAMPLED)
    cluster.step_until(cluster.is_settled, handler)
    asked = "send user-hops < process user-commands"
    granted = f"send user-hops < process user-hops < {asked}"
    changed = f"send user-events < process user-hops < {granted}"
    assert {f"process user-hops < {changed}", changed, granted, asked} <= paths(
        [span for span in spans.seen() if span.trace == TRACE]
    )
    trace_ids = {dict(headers)["traceparent"][3:35] for headers in headers_in(cluster, HOPS)}
    assert trace_ids == {TRACE.encode()}


def test_headers_among_others_change_neither_order_nor_values(
    cluster: Cluster, handler: CommandHandler
) -> None:
    """Records with and without a context, of one partition, in one transaction."""
    user_id = create_jane(cluster, handler)
    for age in range(40, 50):
        headers = SAMPLED if age % 3 == 0 else ()
        cluster.send(update(user_id, age=age, command_id=f"age-{age}"), headers=headers)
    cluster.decide(11, handler)
    events = [event for _, event in cluster.read(EVENTS)]
    assert [event["user"]["age"] for event in events[1:]] == list(range(40, 50))
    assert [bool(one) for one in headers_in(cluster, HISTORY)[1:]] == [
        age % 3 == 0 for age in range(40, 50)
    ]
    cluster.assert_log_is_valid()
    again = cluster.ready("a")  # restores what carries headers
    cluster.send(update(user_id, age=60, command_id="after"))
    cluster.decide(12, again)
    assert cluster.read(EVENTS)[-1][1]["user"]["age"] == 60
