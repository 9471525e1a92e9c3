"""Sends a command and waits for its answer.

For many commands at once use `producers.importer.run`, which sends the next without waiting for the
answer to the last.
"""

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.client.build import (
    change_email_command,
    command_partition,
    create_command,
    delete_command,
    erase_command,
    update_command,
)
from producers.client.outcomes import (
    CONNECT_TIMEOUT_SECONDS,
    Outcome,
    check_topic,
    follow_outcomes,
    open_outcomes,
    outcome_of,
)
from runtime.closing import Closing
from runtime.kafka import is_denied, kafka_available, kafka_failure, producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import CHECK_SERVER, Forbidden, Misconfigured, NotInTime, Poisoned, Unavailable
from schemas.records import CommandOutcome, UserCommand
from schemas.rules import permit_special_use
from schemas.topics import COMMANDS, OUTCOMES

DEFAULT_TIMEOUT_SECONDS = 10.0

# Read at most this many answers to other clients before jumping to the end of the topic.
_MOST_BEHIND_RECORDS = 2_000
_STEP_SECONDS = 0.05

# After these errors, or if access is denied, the command is certainly not on the log.
_NEVER_APPENDED = {
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - librdkafka's own, as those below
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
}


class CommandClient(Closing):
    """Sends commands one at a time and returns the answer to each.

    Keep one client for many commands: a warm client answers in milliseconds, a new one first
    connects to Kafka and the registry. It is not thread-safe. Construction raises `Unavailable` or
    `Misconfigured` (missing topics).

    Every method that sends waits for the answer. It returns every answer of the handler, also a
    rejection. It raises `Rejected` if a field breaks a rule, `Unavailable` if Kafka fails and
    `Misconfigured` if Kafka refuses the command for good (`Forbidden` for want of a permission); in
    these cases nothing was sent. It raises `NotInTime` if no answer came within `timeout_seconds`
    or answers cannot be read; the message says whether the command may still be decided.

    Sending again within five minutes of the answer is safe, under any load and across restarts of
    handlers: a command with the same id and target (the user id; for a creation the address) is
    not decided twice but gets the first answer again, marked `repeated`, and the same id with
    another body is rejected as `command_id_reused`. The setting `outcomes_window_seconds` is this
    time. A command that is sent again later is decided as a new one. Use a new id for every new
    command.
    """

    def __init__(
        self, settings: Settings, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        permit_special_use(settings.special_use_domains)
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        registry = Registry(settings)
        self._commands = registry.codec(COMMANDS.schema)
        self._outcomes = registry.codec(OUTCOMES.schema)
        # A short queue: the next command has to read through whatever it has collected by then.
        self._consumer = open_outcomes(
            settings, **{"queued.max.messages.kbytes": 1024, "queued.min.messages": 1000}
        )
        # A duplicate from a retry is decided once, like any repeated id. The sequence numbers that
        # prevent duplicates cost a new client up to half a second: until it is connected,
        # librdkafka repeats its request for a producer id only that often.
        self._producer = Producer(producer_config(settings) | {"enable.idempotence": False})

    def close(self) -> None:
        """Close the connections; a command that has not been delivered yet is dropped."""
        self._producer.purge()
        self._producer.flush(1)
        self._consumer.close()

    def create_user(
        self, email: object, name: object, age: object, command_id: object = None
    ) -> Outcome:
        """Create a user."""
        return self.send(create_command(email, name, age, command_id))

    def update_user(
        self,
        user_id: object,
        name: object = None,
        age: object = None,
        expected_version: object = None,
        command_id: object = None,
    ) -> Outcome:
        """Change a user's name, age or both; None leaves a field as it is."""
        return self.send(update_command(user_id, name, age, expected_version, command_id))

    def change_email(
        self,
        user_id: object,
        email: object,
        expected_version: object = None,
        command_id: object = None,
    ) -> Outcome:
        """Give a user another e-mail address.

        The old address is free once the command is answered, or soon after that if the two
        addresses belong to different partitions.
        """
        return self.send(change_email_command(user_id, email, expected_version, command_id))

    def delete_user(
        self, user_id: object, expected_version: object = None, command_id: object = None
    ) -> Outcome:
        """Delete a user; its history is kept."""
        return self.send(delete_command(user_id, expected_version, command_id))

    def erase_user(
        self, user_id: object, expected_version: object = None, command_id: object = None
    ) -> Outcome:
        """Erase a user, live or deleted, with its history."""
        return self.send(erase_command(user_id, expected_version, command_id))

    def send(self, command: UserCommand) -> Outcome:
        """Send a command that a function of `producers.client.build` returned."""
        deadline = time.monotonic() + self._timeout_seconds
        partition = command_partition(command, self._settings.partitions)
        self._skip_to_end()
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
        except BaseException as error:
            # The caller no longer waits, so the command must not be sent minutes later.
            if delivery.pending:
                self._producer.purge()
                self._producer.poll(0)
            if isinstance(error, NotInTime) and delivery.was_never_sent:
                raise NotInTime(
                    f"no broker took command {command['command_id']} within "
                    f"{self._timeout_seconds:g} s; nothing was sent",
                    next_step=CHECK_SERVER,
                ) from None
            raise

    def _skip_to_end(self) -> None:
        """Skip the answers that other clients got meanwhile, after checking that a broker answers.

        The producer asks the broker: on the consumer's connection the request would wait up to
        100 ms for the fetch in progress.
        """
        try:
            name = self._settings.named(COMMANDS.name)
            with kafka_available(self._settings):
                topics = self._producer.list_topics(name, timeout=CONNECT_TIMEOUT_SECONDS).topics
            check_topic(self._settings, topics[name], COMMANDS)
            passed = 0
            while messages := self._consumer.consume(_MOST_BEHIND_RECORDS, 0):
                passed += len(messages)
                for message in messages:
                    self._check_readable(message.error())
                # Far behind, perhaps behind the oldest remaining record: jump to the end.
                if passed >= _MOST_BEHIND_RECORDS or any(m.error() for m in messages):
                    follow_outcomes(self._consumer, self._settings)
                    break
        except (Unavailable, Forbidden) as error:
            raise _nothing_sent(error) from error

    def _check_readable(self, error: KafkaError | None) -> None:
        """Raise `Forbidden` if answers may not be read; librdkafka recovers from other errors."""
        if error is not None and is_denied(error):
            permission = f"Read on topic {self._settings.named(OUTCOMES.name)}"
            raise kafka_failure(self._settings, KafkaException(error), permission)

    def _wait(
        self, command_id: str, partition: int, delivery: "_Delivery", deadline: float
    ) -> Outcome:
        key = command_id.encode()
        while (left := deadline - time.monotonic()) > 0:
            self._producer.poll(0)
            delivery.check(self._settings)
            message = self._consumer.poll(min(left, _STEP_SECONDS))
            if message is None:
                continue
            if message.error() is not None:
                self._raise_unreadable(message.error(), command_id)
                continue
            if message.key() == key and message.partition() == partition:
                record = self._answer(message, delivery)
                if record is not None:
                    return outcome_of(record, partition)
        raise NotInTime(
            f"no answer to command {command_id} within {self._timeout_seconds:g} s; "
            "it may still be decided",
            next_step=f"`rollbook commands show {command_id}` shows what became of it; "
            f"sending it again with `--command-id {command_id}` is safe",
        )

    def _raise_unreadable(self, error: KafkaError | None, command_id: str) -> None:
        try:
            self._check_readable(error)
        except Forbidden as forbidden:
            raise NotInTime(
                f"the answer to command {command_id} cannot be read: {forbidden}; "
                "it may still be decided",
                code=forbidden.code,
                next_step=f"{forbidden.next_step}; then `rollbook commands show {command_id}`",
            ) from None

    def _answer(self, message: Message, delivery: "_Delivery") -> CommandOutcome | None:
        """Return the answer in `message`, or None if it answers an earlier command of this id."""
        try:
            record: CommandOutcome = self._outcomes.decode(message.value())
        except Poisoned:
            return None
        if delivery.pending:
            self._producer.flush(_STEP_SECONDS)
        return record if record["command_offset"] >= delivery.offset else None


class _Delivery:
    """What librdkafka reported about one command; `offset` is -1 until it is known."""

    def __init__(self) -> None:
        self.pending = True
        self.offset = -1
        self._error: KafkaError | None = None

    def report(self, error: KafkaError | None, message: Any) -> None:
        self.pending = False
        self._error = error
        if error is None:
            self.offset = message.offset()

    @property
    def was_never_sent(self) -> bool:
        """Whether it was still in the queue when the producer gave it up."""
        error = self._error
        return error is not None and error.code() == KafkaError._PURGE_QUEUE  # noqa: SLF001

    def check(self, settings: Settings) -> None:
        """Raise if the command is certainly not on the log; other errors end by the time limit."""
        error = self._error
        if error is None:
            return
        if is_denied(error):
            permission = f"Write on topic {settings.named(COMMANDS.name)}"
            raise _nothing_sent(kafka_failure(settings, KafkaException(error), permission))
        refused = f"Kafka at {settings.kafka_bootstrap_servers} refused the command: {error.str()}"
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise Misconfigured(f"{refused}; nothing was sent", code="message_too_large")
        if error.code() in _NEVER_APPENDED:
            raise Misconfigured(
                f"{refused}; nothing was sent",
                code="kafka_refused",
                next_step="correct the cause; sending it again unchanged fails again",
            )


def _nothing_sent(error: Unavailable | Forbidden) -> Unavailable | Forbidden:
    return type(error)(f"{error}; nothing was sent", code=error.code, next_step=error.next_step)
