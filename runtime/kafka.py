"""Kafka clients: every option that is not librdkafka's default is spelled here, with its reason."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from runtime.settings import Settings
from schemas.errors import Unavailable

REQUEST_TIMEOUT_SECONDS = 10.0

# librdkafka tells of every lost connection; our own errors say it once, with what to do.
_LIBRDKAFKA = logging.getLogger("librdkafka")
_LIBRDKAFKA.addHandler(logging.NullHandler())
_LIBRDKAFKA.propagate = False


def client_config(settings: Settings) -> dict[str, Any]:
    """Return what every client needs to reach the brokers."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "client.id": "rollbook",
        "logger": _LIBRDKAFKA,
        # The defaults back off up to a second and ten; a broker that restarts is back in less.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        # A new client drops its first connection for one to the broker by name, but opens that only
        # when it looks again, up to a second later, unless it keeps one to every broker. (Of new
        # transactional producers 5 % were ready after 1 s, the others after 30 ms; so all are
        # after 3.)
        "enable.sparse.connections": False,
        # Errors of single connections are not ours to handle: librdkafka reconnects by itself, and
        # each call that could not be served raises.
        "error_cb": lambda _error: None,
    }
    optional = {
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": settings.kafka_sasl_password,
    }
    return config | {option: value for option, value in optional.items() if value}


def producer_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of an idempotent producer: in order, without duplicates."""
    return client_config(settings) | {
        "enable.idempotence": True,  # off by default in librdkafka
        "compression.type": "lz4",
        # A lone record leaves at once; under load batches fill by themselves.
        "linger.ms": 0,
        "batch.num.messages": 100_000,
        "queue.buffering.max.messages": 1_000_000,
    }


def transactional_config(settings: Settings, transactional_id: str) -> dict[str, Any]:
    """Return the configuration of a transactional producer with a stable identity."""
    return producer_config(settings) | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": int(settings.transaction_timeout_seconds * 1000),
        # librdkafka waits this long between the steps of a transaction when the coordinator is
        # busy with the one before: the default 100 ms takes a lone transaction from 4 to 100 ms.
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 10,
        "linger.ms": 1,
    }


def consumer_config(settings: Settings, group: str) -> dict[str, Any]:
    """Return the configuration of a consumer that reads committed records and checks them."""
    return client_config(settings) | {
        "group.id": group,
        "enable.auto.commit": False,  # offsets are committed with what was made of the records
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # A lost position must be a loud stop, never a silent jump.
        "auto.offset.reset": "error",
        "check.crcs": True,  # off by default in librdkafka
        # The default 1000 stalls a consumer that is faster than its queue is long.
        "fetch.queue.backoff.ms": 10,
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 32_768,
        "allow.auto.create.topics": False,
    }


def lone_consumer(settings: Settings, **options: Any) -> Consumer:
    """Return a consumer that is assigned by hand and belongs to no group's balance."""
    return Consumer(consumer_config(settings, settings.named("rollbook-reader")) | options)


def end_reader(settings: Settings, **options: Any) -> Consumer:
    """Return a lone consumer for reading up to an end, which it is told of, and at once.

    A broker that has nothing more answers after `fetch.wait.max.ms`: with 100 ms, short reads of
    dozens of partitions would take seconds.
    """
    return lone_consumer(
        settings, **{"enable.partition.eof": True, "fetch.wait.max.ms": 5} | options
    )


def assign(consumer: Consumer, places: Sequence[TopicPartition]) -> None:
    """Have a consumer read these places, and nothing else, from now on.

    Raises KafkaException if no broker answers. Left to itself, a consumer that is connected looks a
    topic up which it does not know up to a second later.
    """
    known = {place.topic for place in consumer.assignment()}
    for topic in {place.topic for place in places} - known:
        consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_SECONDS)
    consumer.assign(list(places))


def poll_batch(consumer: Consumer, most: int, wait_seconds: float) -> list[Message]:
    """Return the messages that are waiting, at most `most`; blocks only for the first.

    `Consumer.consume(n, timeout)` alone waits the whole timeout for the n-th message.
    """
    first = consumer.poll(wait_seconds)
    return [] if first is None else [first, *consumer.consume(most - 1, 0)]


def producer(settings: Settings) -> Producer:
    """Return an idempotent producer."""
    return Producer(producer_config(settings))


def admin(settings: Settings) -> AdminClient:
    """Return an admin client."""
    return AdminClient(client_config(settings))


@contextmanager
def kafka_available(settings: Settings) -> Iterator[None]:
    """Turn a KafkaException within into `Unavailable`, naming the brokers."""
    try:
        yield
    except KafkaException as error:
        raise kafka_unavailable(settings, error) from error


def kafka_unavailable(settings: Settings, error: KafkaException) -> Unavailable:
    """Return the `Unavailable` that says which brokers failed and how."""
    return Unavailable(
        f"Kafka at {settings.kafka_bootstrap_servers} failed: {error.args[0].str()}",
        code="kafka_unavailable",
        next_step="is it running? `rollbook status`, or `rollbook up` for a local one",
    )
