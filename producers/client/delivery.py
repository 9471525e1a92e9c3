"""Whether a command is on the log, and what its sender is told if that is unknown.

librdkafka does not say whether a message that it gives up was ever transmitted: one that it retries
waits in the same queue as one that was never sent. So it must not retry (`COMMAND_PRODUCER`), and
the clients repeat a failed attempt themselves. Then a message that is purged from the queue was
certainly not appended by that attempt. A command that is on the log twice is decided once, like any
repeated id.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from runtime.kafka.access import is_denied
from runtime.kafka.clients import kafka_failure, produce_batch
from runtime.settings import Settings
from schemas.errors import CHECK_SERVER, Forbidden, Misconfigured, NotInTime, Unavailable
from schemas.records import CommandOutcome
from schemas.topics import COMMANDS, OUTCOMES

if TYPE_CHECKING:
    from runtime.tracing.tracing import SendSpan

# In addition to `producer_config`. The sequence numbers of an idempotent producer would require
# retries, and cost a new client up to half a second: until it is connected, librdkafka repeats its
# request for a producer id only that often.
COMMAND_PRODUCER: Final = {"enable.idempotence": False, "retries": 0}

# After these errors, or if access is denied, the attempt certainly appended nothing.
_NEVER_APPENDED = {
    KafkaError.INVALID_RECORD,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.POLICY_VIOLATION,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - librdkafka's own, as those below
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
}
# After these, this attempt sent nothing, and another may succeed.
_NOT_SENT = {
    KafkaError._PURGE_QUEUE,  # noqa: SLF001
    KafkaError._QUEUE_FULL,  # noqa: SLF001
}

OnDelivery: TypeAlias = Callable[[KafkaError | None, Message], None]


class Delivery:
    """The way of one command to the log. `offset` is -1 until a broker has confirmed it.

    With a `trace`, the record carries its context.
    """

    __slots__ = (
        "_perhaps_sent",
        "_refusal",
        "_value",
        "command_id",
        "key",
        "offset",
        "partition",
        "pending",
        "trace",
    )

    def __init__(self, command_id: str, value: bytes, partition: int) -> None:
        self.command_id = command_id
        self.key = command_id.encode()
        self.partition = partition
        self._value = value
        self.offset = -1
        self.pending = False
        self._perhaps_sent = False
        self._refusal: KafkaError | None = None
        self.trace: SendSpan | None = None

    def attempt(self, producer: Producer, topic: str) -> None:
        """Give the command to the producer, which calls `report` while it is polled."""
        produce_all(producer, topic, [(self, self.report)])

    def begin(self, on_delivery: OnDelivery) -> dict[str, Any]:
        """Begin an attempt; return its message for the producer, which calls `on_delivery`."""
        self.pending, self._refusal = True, None
        message = {"key": self.key, "value": self._value, "callback": on_delivery}
        return message if self.trace is None else message | {"headers": self.trace.headers}

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Note how the attempt ended: what librdkafka calls a delivery report."""
        if error is not None:
            self.fail(error)
            return
        self.pending = False
        self.offset = message.offset() or 0
        if self.trace is not None:
            self.trace.confirm(self.offset)

    def fail(self, error: KafkaError) -> None:
        """Note that the attempt ended with `error`."""
        self.pending = False
        if is_denied(error) or error.code() in _NEVER_APPENDED:
            self._refusal = error
        elif error.code() not in _NOT_SENT:
            self._perhaps_sent = True

    def end(self) -> None:
        """Note that nobody waits for a confirmation any more."""
        if self.trace is not None:
            self.trace.give_up()

    @property
    def must_repeat(self) -> bool:
        """Whether the attempt has ended without a confirmation."""
        return not self.pending and self.offset < 0

    def is_answered_by(self, record: CommandOutcome) -> bool:
        """Return whether `record`, an answer to the same id, answers this command.

        Another command may have had the id before. Until this one is confirmed, it is unknown.
        """
        return 0 <= self.offset <= record["command_offset"]

    def check(self, settings: Settings) -> None:
        """Raise `Forbidden` or `Misconfigured` if Kafka refused the command and it is on no log."""
        error = self._refusal
        if error is None or self._perhaps_sent:
            return
        if is_denied(error):
            permission = f"Write on topic {settings.named(COMMANDS.name)}"
            raise nothing_sent(kafka_failure(settings, KafkaException(error), permission))
        refused = f"Kafka at {settings.kafka_bootstrap_servers} refused the command: {error.str()}"
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise Misconfigured(f"{refused}; nothing was sent", code="message_too_large")
        raise Misconfigured(
            f"{refused}; nothing was sent",
            code="kafka_refused",
            next_step="correct the cause; sending it again unchanged fails again",
        )

    def too_late(self, timeout_seconds: float) -> NotInTime:
        """Return the error of a sender that has waited `timeout_seconds` in vain."""
        if self.must_repeat and not self._perhaps_sent:
            return NotInTime(
                f"no broker took command {self.command_id} within {timeout_seconds:g} s; "
                "nothing was sent",
                code="not_sent",
                next_step=CHECK_SERVER,
            )
        return NotInTime(
            f"no answer to command {self.command_id} within {timeout_seconds:g} s; "
            "it may still be decided",
            next_step=f"`rollbook commands show {self.command_id}` shows what became of it; "
            f"sending it again with `--command-id {self.command_id}` is safe",
        )

    def unreadable(self, forbidden: Forbidden) -> NotInTime:
        """Return the error of a sender that is not allowed to read the answer."""
        return NotInTime(
            f"the answer to command {self.command_id} cannot be read: {forbidden}; "
            "it may still be decided",
            code=forbidden.code,
            next_step=f"{forbidden.next_step}; then `rollbook commands show {self.command_id}`",
        )


def produce_all(
    producer: Producer, topic: str, deliveries: Sequence[tuple[Delivery, OnDelivery]]
) -> None:
    """Begin an attempt for each of `deliveries`; one that the producer refuses ends at once.

    Those of a partition are sent together, in their order.
    """
    by_partition: dict[int, list[tuple[Delivery, dict[str, Any]]]] = {}
    for delivery, on_delivery in deliveries:
        attempt = delivery, delivery.begin(on_delivery)
        by_partition.setdefault(delivery.partition, []).append(attempt)
    for partition, attempts in by_partition.items():
        messages = [message for _, message in attempts]
        if produce_batch(producer, topic, partition, messages) != len(messages):
            for delivery, message in attempts:
                if (error := message.get("_error")) is not None:
                    delivery.fail(error)


def check_readable(settings: Settings, error: KafkaError | None) -> None:
    """Raise `Forbidden` if answers may not be read; librdkafka recovers from other errors."""
    if error is not None and is_denied(error):
        permission = f"Read on topic {settings.named(OUTCOMES.name)}"
        raise kafka_failure(settings, KafkaException(error), permission)


def nothing_sent(error: Unavailable | Forbidden) -> Unavailable | Forbidden:
    """Return `error` with the assurance that nothing was sent."""
    return type(error)(f"{error}; nothing was sent", code=error.code, next_step=error.next_step)
