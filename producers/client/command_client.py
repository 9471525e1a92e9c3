"""Sends a command and waits for its answer: the one way in for callers that want one command.

`rollbook users import` sends many at once, see `producers.importer.run`.
"""

import time
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.client.build import (
    change_email_command,
    command_partition,
    create_command,
    delete_command,
    erase_command,
    new_command_id,
    update_command,
)
from producers.client.outcomes import (
    CONNECT_TIMEOUT_SECONDS,
    Outcome,
    check_command_topics,
    follow_outcomes,
    outcome_of,
)
from runtime.kafka import kafka_available, kafka_unavailable, lone_consumer, producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Misconfigured, NotInTime, Poisoned, Unavailable
from schemas.records import CommandOutcome, UserCommand
from schemas.topics import COMMANDS, OUTCOMES

__all__ = [
    "DEFAULT_TIMEOUT_SECONDS",
    "CommandClient",
    "change_email_command",
    "command_partition",
    "create_command",
    "delete_command",
    "erase_command",
    "new_command_id",
    "update_command",
]

DEFAULT_TIMEOUT_SECONDS = 10.0

# Answers to others that a client reads through rather than starting anew at the end.
_MOST_BEHIND_RECORDS = 2_000
_STEP_SECONDS = 0.05

# Refusals after which the broker certainly holds nothing of the command.
_NEVER_APPENDED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.MSG_SIZE_TOO_LARGE,
}


class CommandClient:
    """Sends commands one at a time and returns what became of each.

    Keep one for many commands: a warm client answers in milliseconds, a new one first connects to
    Kafka and the registry. Not for several threads. Construction raises `Unavailable` or
    `Misconfigured` (missing topics).

    Every method that sends raises `Rejected` for fields that break a rule (nothing is sent),
    `Unavailable` when nothing was sent for certain, and `NotInTime` when no answer came within
    `timeout_seconds`: the command may still be decided. An answer of the handler is always
    returned, also a rejection.

    Sending again is safe, across restarts of handlers and their taking over from each other: a
    command id that comes again for the same target (the user id; for a creation the address) is not
    decided again but gets the first answer once more, `repeated`. This holds for ever for a
    creation while its user lives, and for a user's latest change; for anything else, rejections
    too, within the window of the settings `outcomes_window_count` and `outcomes_window_seconds`.
    Within it the same id with another body is refused as `command_id_reused`. For something else
    use another id.
    """

    def __init__(
        self, settings: Settings, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        registry = Registry(settings)
        self._commands = registry.codec(COMMANDS.schema)
        self._outcomes = registry.codec(OUTCOMES.schema)
        # A short queue: what piles up while nobody waits has to be read through by the next wait.
        self._consumer = lone_consumer(
            settings, **{"queued.max.messages.kbytes": 1024, "queued.min.messages": 1000}
        )
        try:
            check_command_topics(self._consumer, settings)
            follow_outcomes(self._consumer, settings)
        except BaseException:
            self._consumer.close()
            raise
        # A copy made by a retry is decided once, like any repeated id; the sequence numbers that
        # would prevent it cost a new client up to half a second (librdkafka asks for them again
        # only then, if no connection was up at first).
        self._producer = Producer(producer_config(settings) | {"enable.idempotence": False})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections. What could not be delivered by now is dropped."""
        self._producer.purge()
        self._producer.flush(1)
        self._consumer.close()

    def create_user(
        self, email: object, name: object, age: object, command_id: object = None
    ) -> Outcome:
        """Create a user and return the answer."""
        return self.send(create_command(email, name, age, command_id))

    def update_user(
        self,
        user_id: object,
        name: object = None,
        age: object = None,
        expected_version: object = None,
        command_id: object = None,
    ) -> Outcome:
        """Change a user's name, age or both and return the answer."""
        return self.send(update_command(user_id, name, age, expected_version, command_id))

    def change_email(
        self,
        user_id: object,
        email: object,
        expected_version: object = None,
        command_id: object = None,
    ) -> Outcome:
        """Give a user another address and return the answer.

        The old one is free once it is answered; if the two lie in different partitions, soon after.
        """
        return self.send(change_email_command(user_id, email, expected_version, command_id))

    def delete_user(
        self, user_id: object, expected_version: object = None, command_id: object = None
    ) -> Outcome:
        """Delete a user, keeping its history, and return the answer."""
        return self.send(delete_command(user_id, expected_version, command_id))

    def erase_user(
        self, user_id: object, expected_version: object = None, command_id: object = None
    ) -> Outcome:
        """Erase a user, live or deleted, with its history, and return the answer."""
        return self.send(erase_command(user_id, expected_version, command_id))

    def send(self, command: UserCommand) -> Outcome:
        """Send `command`, whose fields are cleaned, and return the answer."""
        deadline = time.monotonic() + self._timeout_seconds
        partition = command_partition(command, self._settings.partitions)
        self._get_ready()
        delivery = _Delivery()
        self._producer.produce(
            self._settings.named(COMMANDS.name),
            self._commands.encode(command),
            command["command_id"].encode(),
            partition,
            on_delivery=delivery.report,
        )
        try:
            return self._wait(command["command_id"], partition, delivery, deadline)
        except BaseException:
            # Nobody waits for it any more: do not send it minutes later.
            if delivery.pending:
                self._producer.purge()
                self._producer.poll(0)
            raise

    def _get_ready(self) -> None:
        """See that a broker answers, and leave behind the answers that others got meanwhile.

        The brokers are asked through the producer: on the consumer's connection the question would
        wait for the fetch that is under way, 100 ms.
        """
        try:
            with kafka_available(self._settings):
                self._producer.list_topics(
                    self._settings.named(COMMANDS.name), timeout=CONNECT_TIMEOUT_SECONDS
                )
            passed = 0
            while messages := self._consumer.consume(_MOST_BEHIND_RECORDS, 0):
                passed += len(messages)
                # Far behind, or even behind what the topic keeps: begin anew at its end.
                if passed >= _MOST_BEHIND_RECORDS or any(m.error() for m in messages):
                    follow_outcomes(self._consumer, self._settings)
                    break
        except Unavailable as error:
            raise _nothing_sent(error) from error

    def _wait(
        self, command_id: str, partition: int, delivery: "_Delivery", deadline: float
    ) -> Outcome:
        key = command_id.encode()
        while (left := deadline - time.monotonic()) > 0:
            self._producer.poll(0)
            delivery.check(self._settings)
            message = self._consumer.poll(min(left, _STEP_SECONDS))
            if message is None or message.error() is not None:
                continue  # librdkafka reconnects by itself
            if message.key() == key and message.partition() == partition:
                record = self._answer(message, delivery)
                if record is not None:
                    return outcome_of(record, partition)
        raise NotInTime(
            f"no answer to command {command_id} within {self._timeout_seconds:g} s; "
            "it may still be decided",
            next_step=f"`rollbook commands show {command_id}` tells what became of it; "
            f"sending it again with `--command-id {command_id}` is safe",
        )

    def _answer(self, message: Message, delivery: "_Delivery") -> CommandOutcome | None:
        """Return the answer in `message`, or None if it belongs to an earlier sending."""
        try:
            record: CommandOutcome = self._outcomes.decode(message.value())
        except Poisoned:
            return None
        if delivery.pending:
            self._producer.flush(_STEP_SECONDS)
        return record if record["command_offset"] >= delivery.offset else None


class _Delivery:
    """What librdkafka reported of one command; `offset` is -1 while it is not known."""

    def __init__(self) -> None:
        self.pending = True
        self.offset = -1
        self._error: KafkaError | None = None

    def report(self, error: KafkaError | None, message: Any) -> None:
        self.pending = False
        self._error = error
        if error is None:
            self.offset = message.offset()

    def check(self, settings: Settings) -> None:
        """Raise if the command is certainly not on the log; any other failure is left to time."""
        if self._error is None:
            return
        if self._error.code() in _NEVER_APPENDED:
            failure = kafka_unavailable(settings, KafkaException(self._error))
            if self._error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise Misconfigured(str(failure), code="message_too_large")
            raise _nothing_sent(failure)


def _nothing_sent(error: Unavailable) -> Unavailable:
    return Unavailable(f"{error}; nothing was sent", code=error.code, next_step=error.next_step)
