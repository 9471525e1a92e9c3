"""Sends a command and waits for its answer.

For many commands at once use `AsyncCommandClient`, which sends the next without waiting for the
answer to the last.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

from confluent_kafka import Message

from producers.client.build import command_partition
from producers.client.delivery import COMMAND_PRODUCER, Delivery, check_readable, nothing_sent
from producers.client.outcomes import (
    CONNECT_TIMEOUT_SECONDS,
    Outcome,
    check_topic,
    follow_outcomes,
    open_outcomes,
    outcome_of,
)
from producers.client.user_commands import UserCommands
from runtime.closing import Closing
from runtime.kafka.client_classes import Producer
from runtime.kafka.clients import kafka_available, producer_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.tracing import tracing_of
from schemas.errors import Forbidden, Poisoned, Unavailable
from schemas.fields.rules import permit_special_use
from schemas.records import CommandOutcome, UserCommand
from schemas.topics import COMMANDS, OUTCOMES

DEFAULT_TIMEOUT_SECONDS = 10.0

# Read at most this many answers to other clients before jumping to the end of the topic.
_MOST_BEHIND_RECORDS = 2_000
_STEP_SECONDS = 0.05


class CommandClient(UserCommands[Outcome], Closing):
    """Sends commands one at a time and returns the answer to each.

    Keep one client for many commands: a warm client answers in milliseconds, a new one first
    connects to Kafka and the registry. It is not thread-safe. Construction raises `Unavailable` or
    `Misconfigured` (missing topics).

    Every method that sends waits for the answer. It returns every answer of the handler, also a
    rejection. It raises `Rejected` if a field breaks a rule, `Unavailable` if Kafka fails and
    `Misconfigured` if Kafka refuses the command for good (`Forbidden` if a permission is missing);
    in these cases nothing was sent. It raises `NotInTime` if no answer came within
    `timeout_seconds` or answers cannot be read; the message says whether the command may still be
    decided.

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
        self._tracing = tracing_of(settings)
        registry = Registry(settings)
        self._commands = registry.codec(COMMANDS.schema)
        self._outcomes = registry.codec(OUTCOMES.schema)
        # A short queue: the next command has to read through whatever it has collected by then.
        self._consumer = open_outcomes(
            settings, **{"queued.max.messages.kbytes": 1024, "queued.min.messages": 1000}
        )
        self._producer = Producer(producer_config(settings) | COMMAND_PRODUCER)

    def close(self) -> None:
        """Close the connections; a command that has not been delivered yet is dropped."""
        self._producer.purge()
        self._producer.flush(1)
        self._consumer.close()

    def send(self, command: UserCommand) -> Outcome:
        """Send a command that a function of `producers.client.build` returned."""
        deadline = time.monotonic() + self._timeout_seconds
        self._skip_to_end()
        partition = command_partition(command, self._settings.partitions)
        topic = self._settings.named(COMMANDS.name)
        value = self._commands.encode(command)
        delivery = Delivery(command["command_id"], value, partition)
        if self._tracing is not None:
            delivery.trace = self._tracing.send_command(topic, partition, command)
        delivery.attempt(self._producer, topic)
        answers: list[CommandOutcome] = []
        try:
            while (left := deadline - time.monotonic()) > 0:
                self._producer.poll(0)
                delivery.check(self._settings)
                if delivery.must_repeat:
                    delivery.attempt(self._producer, topic)
                message = self._consumer.poll(min(left, _STEP_SECONDS))
                if message is not None:
                    answers += self._answers(message, delivery)
                for record in answers:
                    if delivery.is_answered_by(record):
                        return outcome_of(record, partition)
        finally:
            # The caller no longer waits, so the command must not be sent minutes later.
            if delivery.pending:
                self._producer.purge()
                self._producer.poll(0)
            delivery.end()
        raise delivery.too_late(self._timeout_seconds)

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
                    check_readable(self._settings, message.error())
                # Far behind, perhaps behind the oldest remaining record: jump to the end.
                if passed >= _MOST_BEHIND_RECORDS or any(m.error() for m in messages):
                    follow_outcomes(self._consumer, self._settings)
                    break
        except (Unavailable, Forbidden) as error:
            raise nothing_sent(error) from error

    def _answers(self, message: Message, delivery: Delivery) -> Iterator[CommandOutcome]:
        """Yield the answer in `message` if it is to the command's id."""
        try:
            check_readable(self._settings, message.error())
        except Forbidden as forbidden:
            raise delivery.unreadable(forbidden) from None
        is_other = message.key() != delivery.key or message.partition() != delivery.partition
        if message.error() is not None or is_other:
            return
        if delivery.pending:
            self._producer.flush(_STEP_SECONDS)
        with suppress(Poisoned):  # foreign bytes with our key
            yield self._outcomes.decode(message.value())
