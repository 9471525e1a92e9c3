"""Sends a command and waits for its answer: the one way in for callers that want one command.

`rollbook users import` sends many at once, see `producers.import_users`.
"""

import secrets
import time
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.outcomes import (
    CONNECT_TIMEOUT_SECONDS,
    Outcome,
    check_command_topics,
    follow_outcomes,
    outcome_of,
)
from runtime.kafka import kafka_available, kafka_unavailable, lone_consumer, producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas import rules
from schemas.errors import Misconfigured, NotInTime, Poisoned, Rejected, Unavailable
from schemas.identity import (
    SHARDS,
    email_key,
    email_shard,
    new_user_id,
    parse_user_id,
    partition_of,
    user_shard,
)
from schemas.records import CREATE_USER, UPDATE_USER, CommandOutcome, UserCommand
from schemas.topics import COMMANDS, OUTCOMES

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


def new_command_id() -> str:
    """Return a UUIDv7: ids in order of time let `rollbook commands show` read less of the log."""
    now_ms = time.time_ns() // 1_000_000
    return new_user_id(secrets.randbelow(SHARDS), now_ms, secrets.randbits(62))


def create_command(
    email: object, name: object, age: object, command_id: object = None
) -> UserCommand:
    """Return a `CreateUser` with cleaned fields. Raises `Rejected` (`invalid_command`)."""
    return {
        "command_id": _command_id(command_id),
        "issued_at": time.time_ns() // 1_000_000,
        "kind": CREATE_USER,
        "email": rules.clean_email(email),
        "name": rules.clean_name(name),
        "age": rules.clean_age(age),
    }


def update_command(
    user_id: object,
    name: object = None,
    age: object = None,
    expected_version: object = None,
    command_id: object = None,
) -> UserCommand:
    """Return an `UpdateUser` with cleaned fields; None leaves a field as it is.

    Raises `Rejected` (`invalid_command`), also if there is nothing to update.
    """
    if name is None and age is None:
        raise Rejected(
            "there is nothing to update",
            code="invalid_command",
            next_step="give a name, an age or both",
        )
    version = None if expected_version is None else rules.clean_version(expected_version)
    return {
        "command_id": _command_id(command_id),
        "issued_at": time.time_ns() // 1_000_000,
        "kind": UPDATE_USER,
        "user_id": parse_user_id(user_id),
        "name": None if name is None else rules.clean_name(name),
        "age": None if age is None else rules.clean_age(age),
        "expected_version": version,
    }


def _command_id(value: object) -> str:
    return new_command_id() if value is None else rules.clean_command_id(value)


def command_partition(command: UserCommand, partitions: int) -> int:
    """Return where `command` must stand: its user's partition. Its fields are cleaned."""
    if command["kind"] == CREATE_USER:
        shard = email_shard(email_key(command.get("email") or ""))
    else:
        shard = user_shard(command.get("user_id") or "")
    return partition_of(shard, partitions)


class CommandClient:
    """Sends commands one at a time and returns what became of each.

    Keep one for many commands: a warm client answers in milliseconds, a new one first connects to
    Kafka and the registry. Not for several threads. Construction raises `Unavailable` or
    `Misconfigured` (missing topics).

    `create_user`, `update_user` and `send` raise `Rejected` for fields that break a rule (nothing
    is sent), `Unavailable` when nothing was sent for certain, and `NotInTime` when no answer came
    within `timeout_seconds`: the command may still be decided, and sending it again under the same
    id is safe. An answer of the handler is always returned, also a rejection.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
