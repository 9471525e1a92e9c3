"""Replaces a record of a user that no handler can read, so that its partition is decided again.

An event is on the log twice: `user-history` has every one, `user-events` the latest of each user.
"""

from collections.abc import Iterator
from contextlib import closing

from confluent_kafka import KafkaException, Message

from producers.handler.members import members
from runtime.kafka.client_classes import Producer
from runtime.kafka.clients import (
    REQUEST_TIMEOUT_SECONDS,
    end_reader,
    kafka_available,
    producer_config,
)
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.log_ranges import log_ranges, read_topic
from schemas.coding.codec import RecordCodec
from schemas.errors import Misconfigured, Poisoned, Rejected, Unavailable
from schemas.identity import partition_of, user_shard
from schemas.records import UserEvent
from schemas.topics import EVENTS, HISTORY
from schemas.trust import check_history_event


def repair_user(settings: Settings, user_id: str) -> UserEvent:
    """Append the last event of a user's history to `user-events`; return it.

    The bytes are those that the handler wrote. Raises `Rejected` (`handlers_running` while the
    group has members: they may be deciding a later event; `user_not_found` without a history),
    `Misconfigured` (`unreadable_log`) if the history's last event cannot be read either, and
    `Unavailable`.
    """
    if members(settings):
        raise Rejected(
            "handlers are running",
            code="handlers_running",
            next_step="stop all of them first, and wait until their sessions have expired",
        )
    partition = partition_of(user_shard(user_id), settings.partitions)
    last = max(_history(settings, user_id, partition), key=_version, default=None)
    if last is None:
        raise Rejected(f"there is no history of user {user_id}", code="user_not_found")
    codec: RecordCodec[UserEvent] = Registry(settings).codec(HISTORY.schema)
    try:
        event = codec.decode_whole(last.value())
        check_history_event(event, last.key(), partition, settings.partitions)
    except Poisoned as poisoned:
        raise Misconfigured(
            f"the last event of the user's history, at offset {last.offset()}, cannot be read "
            f"either: {poisoned}",
            code="unreadable_log",
            next_step="restore both topics from a backup",
        ) from poisoned
    _append(settings, user_id, partition, last.value())
    return event


def _history(settings: Settings, user_id: str, partition: int) -> Iterator[Message]:
    """Yield the records of a user in `user-history`, except tombstones."""
    mine = f"{user_id}:".encode()
    with closing(end_reader(settings)) as reader:
        ranges = log_ranges(settings, HISTORY, [partition])
        for messages in read_topic(settings, reader, HISTORY, ranges):
            for message in messages:
                if (message.key() or b"").startswith(mine) and message.value() is not None:
                    yield message


def _version(message: Message) -> int:
    digits = (message.key() or b"").rpartition(b":")[2]
    return int(digits) if digits.isdigit() else 0


def _append(settings: Settings, user_id: str, partition: int, value: bytes | None) -> None:
    name = settings.named(EVENTS.name)
    errors: list[KafkaException] = []
    with kafka_available(settings):
        producer = Producer(producer_config(settings))
        producer.produce(
            name,
            value,
            user_id.encode(),
            partition,
            on_delivery=lambda error, _: errors.append(KafkaException(error)) if error else None,
        )
        left = producer.flush(REQUEST_TIMEOUT_SECONDS)
        if errors:
            raise errors[0]
    if left:
        raise Unavailable(
            f"{name} took no record within {REQUEST_TIMEOUT_SECONDS:g} s", code="kafka_unavailable"
        )
