"""What a sender is told about a command that did not get an answer in time, without servers."""

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from producers.client.delivery import Delivery, produce_all
from runtime.settings import Settings
from schemas.errors import Forbidden, Misconfigured

TRANSPORT = KafkaError(KafkaError._TRANSPORT)
WITHDRAWN = KafkaError(KafkaError._PURGE_QUEUE)
DENIED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
QUEUE_FULL = KafkaError(KafkaError._QUEUE_FULL)
GONE = KafkaError(KafkaError._UNKNOWN_TOPIC)


class Queue:
    """A producer whose queue takes messages, at most `most`, or refuses them."""

    def __init__(self, refusal: KafkaError | None = None, most: int = 0) -> None:
        self.refusal = refusal
        self.most = most
        self.batches: list[tuple[int, list[bytes]]] = []

    def produce_batch(self, _topic: str, messages: list[dict[str, Any]], partition: int) -> int:
        self.batches.append((partition, [message["key"] for message in messages]))
        if self.refusal is None:
            return len(messages)
        for message in messages[self.most :]:
            message["_error"] = self.refusal
        return self.most


class Confirmation:
    """A message that a broker has confirmed."""

    def offset(self) -> int:
        return 7


def after(*errors: KafkaError | None) -> Delivery:
    """Return the delivery after one attempt for each of `errors`; None is a confirmation."""
    delivery = Delivery("c-1", b"value", 3)
    for error in errors:
        attempt(delivery)
        delivery.report(error, cast("Any", Confirmation()))
    return delivery


def attempt(delivery: Delivery, refusal: KafkaError | None = None) -> None:
    delivery.attempt(cast("Any", Queue(refusal)), "user-commands")


def test_a_command_that_was_only_ever_withdrawn_was_never_sent() -> None:
    error = after(WITHDRAWN, WITHDRAWN).too_late(2)
    assert error.code == "not_sent"
    assert str(error) == "no broker took command c-1 within 2 s; nothing was sent"


@pytest.mark.parametrize(
    "errors", [(TRANSPORT,), (TRANSPORT, WITHDRAWN), (TRANSPORT, DENIED), (None,)]
)
def test_after_any_attempt_with_an_unknown_end_it_may_still_be_decided(errors: Any) -> None:
    """A broker may have appended it before the connection broke, whatever happened later."""
    delivery = after(*errors)
    delivery.check(Settings())
    error = delivery.too_late(2)
    assert (error.code, "may still be decided" in str(error)) == ("not_in_time", True)


def test_a_command_that_the_producer_has_not_given_back_may_still_be_decided() -> None:
    delivery = after(WITHDRAWN)
    attempt(delivery)
    assert not delivery.must_repeat
    assert delivery.too_late(2).code == "not_in_time"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (DENIED, Forbidden, "kafka_forbidden"),
        (TOO_LARGE, Misconfigured, "message_too_large"),
        (GONE, Misconfigured, "kafka_refused"),
    ],
)
def test_a_refusal_is_raised_however_librdkafka_reports_it(
    error: KafkaError, kind: type[Misconfigured], code: str
) -> None:
    """In a delivery report, or at once."""
    at_once = Delivery("c-1", b"value", 3)
    attempt(at_once, error)
    for delivery in (after(error), after(WITHDRAWN, error), at_once):
        with pytest.raises(kind, match="nothing was sent") as raised:
            delivery.check(Settings())
        assert raised.value.code == code


def test_commands_of_a_partition_are_produced_together_in_their_order() -> None:
    """Of those that a queue has no room for, nothing was sent."""
    queue = Queue(QUEUE_FULL, most=1)
    commands = [Delivery(f"c-{number}", b"value", number % 2) for number in range(4)]
    deliveries = [(delivery, delivery.report) for delivery in commands]
    produce_all(cast("Any", queue), "user-commands", deliveries)
    assert queue.batches == [(0, [b"c-0", b"c-2"]), (1, [b"c-1", b"c-3"])]
    assert [delivery.must_repeat for delivery in commands] == [False, False, True, True]
    assert commands[3].too_late(2).code == "not_sent"


def test_a_full_queue_is_tried_again() -> None:
    delivery = Delivery("c-1", b"value", 3)
    attempt(delivery, QUEUE_FULL)
    assert delivery.must_repeat
    delivery.check(Settings())
    attempt(delivery)
    delivery.report(None, cast("Any", Confirmation()))
    assert (delivery.must_repeat, delivery.offset) == (False, 7)
