"""Events with the context of a trace, applied by a projector over the in-memory log."""

import time
from dataclasses import replace
from functools import partial

import pytest

from projectors.engine.traced_runner import TracedRunner
from projectors.promises.events import user_event
from runtime.tracing.tracing import Tracing
from schemas.errors import Unavailable
from tests.observed.spans import Seen, SpansInMemory
from tests.unit.projectors.engine.stepping import CODEC, World, until_caught_up

TRACES = ("0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736")
SENDERS = ("b7ad6b7169203331", "00f067aa0ba902b7")


@pytest.fixture
def spans() -> SpansInMemory:
    return SpansInMemory()


def put(world: World, user: int, value: bytes | None = None, flags: str = "01") -> None:
    """Append an event of a user in the trace with the same number."""
    event = user_event(user)
    header = f"00-{TRACES[user]}-{SENDERS[user]}-{flags}".encode()
    encoded = CODEC.encode(event) if value is None else value
    world.append(encoded, event["user_id"], [("traceparent", header)])


def project(world: World, spans: SpansInMemory) -> list[Seen]:
    new_runner = partial(TracedRunner, tracing=Tracing(spans.tracer))
    until_caught_up(world, world.member(new_runner=new_runner))
    return spans.seen()


def test_each_event_has_a_span_in_its_trace_and_all_are_linked_to_that_of_the_batch(
    spans: SpansInMemory,
) -> None:
    world = World()
    world.users(5, 10)  # without a context: no spans
    put(world, 0)
    put(world, 1)
    *found, batch = project(world, spans)
    assert {(span.trace, span.parent) for span in found} == set(zip(TRACES, SENDERS, strict=True))
    assert {span.kind for span in found} == {"consumer"}
    assert (batch.parent, batch.links) == ("", frozenset(SENDERS))
    assert batch.attributes["messaging.batch.message_count"] == 12
    assert all(span.links == {batch.id} for span in found)
    first = next(span for span in found if span.trace == TRACES[0])
    assert first.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "user-events",
        "messaging.destination.partition.id": first.attributes[
            "messaging.destination.partition.id"
        ],
        "messaging.consumer.group.name": "rollbook-projector-memory-1",
        "messaging.kafka.offset": first.attributes["messaging.kafka.offset"],
        "rollbook.command.id": user_event(0)["command_id"],
        "rollbook.user.id": user_event(0)["user_id"],
        "rollbook.user.version": 1,
        "rollbook.read_model": "memory",
        "rollbook.read_model.version": 1,
    }


def test_an_event_that_cannot_be_applied_shows_the_code_of_its_dead_letter(
    spans: SpansInMemory,
) -> None:
    world = World()
    put(world, 0, b"no event")
    put(world, 1)
    found = {span.trace: span for span in project(world, spans)}
    assert found[TRACES[0]].attributes["error.type"] == "wrong_magic"
    assert not found[TRACES[1]].failed


def test_traces_that_are_not_sampled_have_no_spans(spans: SpansInMemory) -> None:
    world = World()
    put(world, 0, flags="00")
    assert project(world, spans) == []


def test_events_of_the_past_have_no_spans(spans: SpansInMemory) -> None:
    """A new read model reads the whole log, whose requests were answered long ago."""
    world = World()
    put(world, 0)
    two_hours_ago = int(time.time() * 1000) - 7_200_000
    for log in world.log.partitions.values():
        log.entries = [replace(entry, at_ms=two_hours_ago) for entry in log.entries]
    assert project(world, spans) == []


def test_a_batch_that_is_not_stored_fails_its_spans(spans: SpansInMemory) -> None:
    world = World()
    put(world, 0)
    member = world.member(new_runner=partial(TracedRunner, tracing=Tracing(spans.tracer)))

    def stop() -> None:
        member.stopping.set()
        raise Unavailable("the store is down")

    world.model.before_write = stop
    member.step(4)
    assert {span.attributes["error.type"] for span in spans.seen()} == {"InterruptedError"}
