"""A command's answer as callers see it, and how to follow the answers on the log.

The handler writes the answer to a command to `user-outcomes`, to the partition with the same number
as the command's and with the command's id as key. So an answer is found by its key alone.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._metadata import TopicMetadata

from producers.client.delivery import nothing_sent
from runtime.kafka.access import is_denied
from runtime.kafka.clients import (
    admin,
    has_login,
    kafka_available,
    kafka_failure,
    lone_consumer,
)
from runtime.settings import Settings
from runtime.topics.access import denied_operations
from runtime.topics.admin import check_partitions, missing_topic, wanted_partitions
from schemas.errors import Forbidden, Rejected, Unavailable
from schemas.records import ACCEPTED, CommandOutcome
from schemas.topics import COMMANDS, OUTCOMES, Topic

CONNECT_TIMEOUT_SECONDS = 5.0
_MISSING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's own name
}
_AT_THE_END = -1
_RETRY_SECONDS = 0.05

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
        return {name: getattr(self, name) for name in OUTCOME_FIELDS}

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


OUTCOME_FIELDS: Final = tuple(name for name in Outcome.__slots__ if name != "repeated")


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
        token=None if seq is None else f"{partition}:{seq}",  # as `str(Token(…))`
        repeated=record["repeated"],
    )


def check_command_topics(consumer: Consumer, settings: Settings) -> None:
    """Check with the brokers that both topics exist and have the configured number of partitions.

    With another number, commands would go to partitions that do not own their users. Unlike
    `runtime.topics.admin.check_topics`, this needs no client of its own: a command asks with the
    consumer that it has. Raises
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


def check_permissions(settings: Settings, client: AdminClient) -> None:
    """Raise `Forbidden` unless we may write commands and read their answers, `Unavailable`.

    To ask before anything is sent leaves no doubt. Blocks for at most 5 s.
    """
    needed = {
        settings.named(COMMANDS.name): (AclOperation.WRITE,),
        settings.named(OUTCOMES.name): (AclOperation.READ,),
    }
    with kafka_available(settings):
        missing = denied_operations(client, needed, timeout_seconds=CONNECT_TIMEOUT_SECONDS)
    if missing:
        denied = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
        raise kafka_failure(settings, denied, missing)


def open_outcomes(settings: Settings, **options: Any) -> Consumer:
    """Return a consumer at the end of the outcomes, so it receives every answer from now on.

    Raises as `check_command_topics`, `check_permissions` and `follow_outcomes` do.
    """
    if has_login(settings):
        try:
            check_permissions(settings, admin(settings))
        except (Unavailable, Forbidden) as error:
            raise nothing_sent(error) from error
    consumer = lone_consumer(settings, **options)
    try:
        check_command_topics(consumer, settings)
        follow_outcomes(consumer, settings)
    except BaseException:
        consumer.close()
        raise
    return consumer


def follow_outcomes(consumer: Consumer, settings: Settings) -> dict[int, int]:
    """Assign all partitions of the outcomes, each from its current end; return those offsets.

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
                places = _offsets_at(consumer, ends)
                consumer.assign(places)
            except KafkaException as error:
                if is_denied(error.args[0]) or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return {place.partition: place.offset for place in places}


def _offsets_at(consumer: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    found = consumer.offsets_for_times(asked, timeout=CONNECT_TIMEOUT_SECONDS)
    for position in found:
        if position.error is not None:
            raise KafkaException(position.error)
    return found
