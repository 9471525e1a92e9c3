"""A command's answer as callers see it, and how to find it on the log.

The handler writes the answer to a command to `user-outcomes`, to the partition with the same number
as the command's and with the command's id as key. So an answer is found by its key alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin._metadata import TopicMetadata

from runtime.kafka import (
    end_reader,
    is_denied,
    kafka_available,
    kafka_failure,
    lone_consumer,
)
from runtime.log_ranges import log_ranges, read_topic
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.topic_admin import check_partitions, missing_topic, wanted_partitions
from schemas.codec import RecordCodec
from schemas.errors import NotInTime, Poisoned, Rejected
from schemas.records import ACCEPTED, CommandOutcome
from schemas.rules import clean_command_id
from schemas.tokens import Token
from schemas.topics import COMMANDS, OUTCOMES, Topic

CONNECT_TIMEOUT_SECONDS = 5.0
_MISSING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's own name
}
_AT_THE_END = -1
_RETRY_SECONDS = 0.05
_HOUR_MS = 3_600_000
_UUID_V7 = 7

_NEXT_STEPS = {
    "user_already_exists": "`rollbook users get {user_id}` shows who holds it",
    "version_conflict": "`rollbook users get {user_id}` shows the current version",
    "user_not_found": "`rollbook users search TEXT` finds a user's id",
    "command_id_reused": "leave --command-id out, or use a new one",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a command, without personal data.

    `status` is `accepted` or `rejected`, and `code` and `message` say why it was rejected.
    `token` (`partition:seq`) makes a query wait until its read model shows what the command did.
    `repeated` is true if the command id was decided before: this is that first answer again.
    """

    command_id: str
    status: str
    user_id: str | None
    version: int | None
    code: str | None
    message: str | None
    token: str | None
    repeated: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the command was accepted."""
        return self.status == ACCEPTED

    def as_fields(self) -> dict[str, Any]:
        """Return the fields that commands print, in order."""
        fields = asdict(self)
        del fields["repeated"]
        return fields

    def rejection(self) -> Rejected:
        """Return the error for a rejected outcome, with a next step where there is one."""
        step = _NEXT_STEPS.get(self.code or "", "")
        if "{" in step and self.user_id is None:
            step = ""
        return Rejected(
            self.message or "the command was rejected",
            code=self.code,
            next_step=step.format(user_id=self.user_id),
        )


def outcome_of(record: CommandOutcome, partition: int) -> Outcome:
    """Return a record from `partition` of the outcomes as an `Outcome`."""
    seq = record["seq"]
    return Outcome(
        command_id=record["command_id"],
        status=record["status"],
        user_id=record["user_id"],
        version=record["version"],
        code=record["code"],
        message=record["message"],
        token=None if seq is None else str(Token({partition: seq})),
        repeated=record["repeated"],
    )


def check_command_topics(consumer: Consumer, settings: Settings) -> None:
    """Check with the brokers that both topics exist and have the configured number of partitions.

    With another number, commands would go to partitions that do not own their users. Raises
    `Unavailable` if no broker answers within 5 s, and `Misconfigured`.
    """
    for topic in (COMMANDS, OUTCOMES):
        name = settings.named(topic.name)
        with kafka_available(settings):
            # By name: a list of all topics leaves out those that we may not see.
            found = consumer.list_topics(name, timeout=CONNECT_TIMEOUT_SECONDS).topics[name]
        check_topic(settings, found, topic)


def check_topic(settings: Settings, found: TopicMetadata, topic: Topic) -> None:
    """Raise `Misconfigured` unless `topic` exists as configured, `Forbidden` if it may be hidden.

    Errors that pass by themselves, such as a leader that is being elected, are ignored.
    """
    name, error = settings.named(topic.name), found.error
    if error is not None and is_denied(error):
        raise kafka_failure(settings, KafkaException(error), f"Describe on topic {name}")
    if error is not None and error.code() in _MISSING:
        raise missing_topic(name)
    if error is None:
        check_partitions(name, len(found.partitions), wanted_partitions(topic, settings))


def open_outcomes(settings: Settings, **options: Any) -> Consumer:
    """Return a consumer at the end of the outcomes, so it receives every answer from now on.

    Raises as `check_command_topics` and `follow_outcomes` do.
    """
    consumer = lone_consumer(settings, **options)
    try:
        check_command_topics(consumer, settings)
        follow_outcomes(consumer, settings)
    except BaseException:
        consumer.close()
        raise
    return consumer


def follow_outcomes(consumer: Consumer, settings: Settings) -> None:
    """Assign all partitions of the outcomes, each from its current end.

    All at once, because a partition that is added later waits for the fetch in progress, up to
    `fetch.wait.max.ms`. Retries for 5 s: brokers refuse while a partition changes its leader or
    was only just created. Raises `Unavailable`.
    """
    name = settings.named(OUTCOMES.name)
    ends = [TopicPartition(name, number, _AT_THE_END) for number in range(settings.partitions)]
    deadline = time.monotonic() + CONNECT_TIMEOUT_SECONDS
    with kafka_available(settings):
        while True:
            try:
                consumer.assign(_offsets_at(consumer, ends))
            except KafkaException as error:
                if is_denied(error.args[0]) or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return


def _offsets_at(consumer: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    found = consumer.offsets_for_times(asked, timeout=CONNECT_TIMEOUT_SECONDS)
    for position in found:
        if position.error is not None:
            raise KafkaException(position.error)
    return found


def find_outcome(
    settings: Settings, command_id: str, on_progress: Callable[[int], None] | None = None
) -> Outcome:
    """Return the first answer to `command_id`; `on_progress` gets the number of records read.

    Reads the outcomes from the time that the id states, or all of them. Raises `Rejected`
    (`invalid_command` if it is not a command id, `command_not_found` if the log has neither the
    command nor an answer), `NotInTime` (`not_decided`) if the command is on the log but undecided,
    `Unavailable` and `Misconfigured`.
    """
    key = clean_command_id(command_id).encode()
    codec = Registry(settings).codec(OUTCOMES.schema)
    count = 0

    def matches(topic: Topic, since_ms: int) -> Iterator[Message]:
        """Yield the records of `topic` with the key, from a time on; no value is decoded."""
        nonlocal count
        ranges = log_ranges(settings, topic, range(settings.partitions), since_ms)
        for messages in read_topic(settings, consumer, topic, ranges):
            yield from (message for message in messages if message.key() == key)
            count += len(messages)
            if on_progress and messages:
                on_progress(count)

    with closing(end_reader(settings)) as consumer:
        check_command_topics(consumer, settings)
        for since_ms in dict.fromkeys((_sent_after_ms(command_id), 0)):
            answers = _decoded(matches(OUTCOMES, since_ms), codec)
            if answers:
                return min(answers, key=lambda answer: (answer[0].repeated, answer[1]))[0]
        if any(matches(COMMANDS, 0)):
            raise NotInTime(
                f"command {command_id} was sent but is not decided yet",
                code="not_decided",
                next_step="is a handler running? `rollbook status`; then ask again",
            )
    raise Rejected(
        f"there is no command {command_id} on the log",
        code="command_not_found",
        next_step="it was never sent, or longer ago than the topics keep it (7 days)",
    )


def _decoded(
    messages: Iterator[Message], codec: RecordCodec[CommandOutcome]
) -> list[tuple[Outcome, int]]:
    """Return the answers and when each was decided; foreign bytes with our key are skipped."""
    answers = []
    for message in messages:
        with suppress(Poisoned):
            record = codec.decode(message.value())
            answers.append((outcome_of(record, message.partition() or 0), record["decided_at"]))
    return answers


def _sent_after_ms(command_id: str) -> int:
    """Return a time before the command was sent, from the id if our client made it; otherwise 0."""
    try:
        parsed = UUID(command_id)
    except ValueError:
        return 0
    # An hour covers clock skew. If it does not, the caller reads all outcomes next.
    return max(0, (parsed.int >> 80) - _HOUR_MS) if parsed.version == _UUID_V7 else 0
