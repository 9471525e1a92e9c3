"""Kafka clients: every option that is not librdkafka's default is set here, with its reason."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from runtime.configuration.kafka_connection import connection_config
from runtime.kafka import client_classes
from runtime.kafka.access import (
    PERMISSIONS,
    LoginWatch,
    is_denied,
    is_refused_login,
    login_of,
    text_of,
    tls_trouble,
)
from runtime.process import Reminder
from runtime.settings import Settings
from schemas.errors import CHECK_SERVER, GRANT, Forbidden, Unavailable
from schemas.topics import COMMANDS

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 10.0
_HANGS_MS = 10_000

# librdkafka logs every lost connection; our own errors report it once, with what to do.
_LIBRDKAFKA = logging.getLogger("librdkafka")
_LIBRDKAFKA.addHandler(logging.NullHandler())
_LIBRDKAFKA.propagate = False


def client_config(settings: Settings) -> dict[str, Any]:
    """Return what every client needs to reach the brokers; `kafka_options` override the rest."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": "rollbook",
        "logger": _LIBRDKAFKA,
        # By default reconnecting backs off up to 10 s; a restarting broker is back sooner.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        # A new client replaces its first connection by one to the broker's advertised name. By
        # default it opens that one on demand, up to 1 s later: 5 % of new transactional producers
        # took 1 s to become ready, the others 30 ms. Connected to every broker, all take 3 ms.
        "enable.sparse.connections": False,
        # A broker that hangs refuses no connection. Others lead its partitions after 9 s, but by
        # default a client waits 60 s for its answer before it looks for them.
        "socket.timeout.ms": _HANGS_MS,
        # One that is cut off from the others goes on answering readers. By default, they learn
        # after 5 min that another broker leads the partition.
        "topic.metadata.refresh.interval.ms": _HANGS_MS,
        # Errors of single connections need no handling: librdkafka reconnects by itself, and a call
        # that fails raises.
        "error_cb": lambda _error: None,
        **connection_config(settings),
    }


def producer_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of an idempotent producer: it keeps order, without duplicates."""
    return {
        "compression.type": "lz4",
        **client_config(settings),
        "enable.idempotence": True,  # off by default in librdkafka
        # A single record is sent at once; under load, batches fill by themselves.
        "linger.ms": 0,
        "batch.num.messages": 100_000,
        "queue.buffering.max.messages": 1_000_000,
    }


def transactional_config(settings: Settings, transactional_id: str) -> dict[str, Any]:
    """Return the configuration of a transactional producer; `transactional_id` identifies it."""
    config, most_ms = producer_config(settings), int(settings.transaction_timeout_seconds * 1000)
    return config | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": most_ms,
        # librdkafka demands that it is not longer.
        "socket.timeout.ms": min(int(config["socket.timeout.ms"]), most_ms),
        # How long librdkafka waits if the coordinator is still busy with the previous step of a
        # transaction: with the default of 100 ms, a single transaction takes 100 ms instead of 4.
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 10,
        "linger.ms": 1,
    }


def consumer_config(settings: Settings, group: str) -> dict[str, Any]:
    """Return the configuration of a consumer that reads committed records and checks them."""
    return client_config(settings) | {
        "group.id": group,
        "enable.auto.commit": False,  # offsets are committed with the results of their records
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # A lost position must be an error, never a silent jump.
        "auto.offset.reset": "error",
        "check.crcs": True,  # off by default in librdkafka
        # With the default of 1000, a consumer that empties its queue faster than that stalls.
        "fetch.queue.backoff.ms": 10,
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 32_768,
        "allow.auto.create.topics": False,
    }


def lone_consumer(settings: Settings, **options: Any) -> Consumer:
    """Return a consumer for manual assignment, which never joins a group.

    Raises `Forbidden` if brokers refuse the login, or the client their certificate.
    """
    config = consumer_config(settings, settings.named("rollbook-reader")) | options
    watch = LoginWatch(config["error_cb"])
    consumer = client_classes.Consumer(config | {"error_cb": watch.on_error})
    if has_login(settings):
        topic = settings.named(COMMANDS.name)  # any one: the answer about all may be long
        refusal = watch.refusal(consumer, lambda seconds: consumer.list_topics(topic, seconds))
        if denial := _denial(settings, refusal, watch):
            consumer.close()
            raise denial
    return consumer


def end_reader(settings: Settings, **options: Any) -> Consumer:
    """Return a consumer for manual assignment that reports a partition's end at once.

    A broker without new records answers after `fetch.wait.max.ms`: with 100 ms, short reads of
    dozens of partitions would take seconds.
    """
    return lone_consumer(
        settings, **{"enable.partition.eof": True, "fetch.wait.max.ms": 5} | options
    )


def assign(consumer: Consumer, places: Sequence[TopicPartition]) -> None:
    """Make a consumer read these partitions and offsets, and nothing else, from now on.

    Raises KafkaException if no broker answers. The metadata of a new topic are requested here,
    because the consumer itself would do that up to 1 s later.
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


def produce_batch(
    producer: Producer, topic: str, partition: int, messages: list[dict[str, Any]]
) -> int:
    """Produce `messages` in order; return how many were taken, with `_error` in the others.

    confluent-kafka's own `produce_batch` cannot write headers. So either all messages have
    `headers`, or none has.
    """
    if "headers" not in messages[0]:
        return producer.produce_batch(topic, messages, partition)
    for message in messages:
        fields = {"on_delivery": message.get("callback"), "headers": message["headers"]}
        try:
            producer.produce(topic, message["value"], message["key"], partition, **fields)
        except BufferError:
            message["_error"] = KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
        except KafkaException as error:
            message["_error"] = error.args[0]
    return sum("_error" not in message for message in messages)


def producer(settings: Settings) -> Producer:
    """Return an idempotent producer."""
    return client_classes.Producer(producer_config(settings))


def admin(settings: Settings) -> AdminClient:
    """Return an admin client. Raises `Forbidden` as `lone_consumer` does."""
    client, denial = _connected_admin(settings)
    if denial is not None:
        raise denial
    return client


def _connected_admin(settings: Settings) -> tuple[AdminClient, Unavailable | Forbidden | None]:
    """Return a client, and why its login or a broker's certificate is refused, if it is."""
    watch = LoginWatch()
    client = client_classes.AdminClient(client_config(settings) | {"error_cb": watch.on_error})
    if not has_login(settings):
        return client, None
    answer = client.describe_cluster(request_timeout=REQUEST_TIMEOUT_SECONDS)
    return client, _denial(settings, watch.refusal(client, answer.result), watch)


def _denial(
    settings: Settings, refusal: KafkaError | None, watch: LoginWatch
) -> Unavailable | Forbidden | None:
    if refusal is not None:
        return kafka_failure(settings, KafkaException(refusal))
    return tls_trouble(settings) if watch.are_down else None


def has_login(settings: Settings) -> bool:
    """Return whether clients log in, so that brokers can deny one what they permit another.

    With TLS alone, a client may do so with its certificate.
    """
    return settings.kafka_security_protocol.lower() != "plaintext"


def login_warning(settings: Settings) -> Callable[[KafkaError], None]:
    """Return an `error_cb` that logs a refused login or certificate, every 30 s as long as it is.

    For clients that stay: to them a login that is no longer accepted looks like silence.
    """
    reminder = Reminder()

    def on_error(error: KafkaError) -> None:
        is_refused = is_refused_login(error) or error.code() == KafkaError._SSL  # noqa: SLF001
        if is_refused and reminder.is_due():
            log.warning("%s", kafka_failure(settings, KafkaException(error)))

    return on_error


@contextmanager
def kafka_available(settings: Settings, permission: str = "") -> Iterator[None]:
    """Turn a KafkaException in the `with` block into what `kafka_failure` returns for it."""
    try:
        yield
    except KafkaException as error:
        raise kafka_failure(settings, error, permission) from error


# A client whose login is refused connects again and again: its calls only time out. The same holds
# if it refuses a broker's certificate.
_PERHAPS_REFUSED = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
}


def kafka_failure(
    settings: Settings, error: KafkaException, permission: str = ""
) -> Unavailable | Forbidden:
    """Return the error that names the brokers and what failed.

    It is `Forbidden` if they deny access; `permission` is then what is missing. It may take
    seconds, because new connections have to find out why brokers do not answer.
    """
    why: KafkaError = error.args[0]
    denial: Unavailable | Forbidden | None = None
    if why.code() == KafkaError._SSL:  # noqa: SLF001
        denial = tls_trouble(settings, why.str())
    elif why.code() in _PERHAPS_REFUSED:
        denial = _connected_admin(settings)[1] if has_login(settings) else tls_trouble(settings)
    if denial is not None:
        return denial
    if is_denied(why):
        missing = permission or PERMISSIONS[why.code()]
        if is_refused_login(why):
            missing = login_of(settings)
        return Forbidden(
            f"Kafka at {settings.kafka_bootstrap_servers} denies access: {text_of(why)}; "
            f"what is missing: {missing}",
            code="kafka_forbidden",
            next_step=GRANT,
        )
    return Unavailable(
        f"Kafka at {settings.kafka_bootstrap_servers} failed: {text_of(why)}",
        code="kafka_unavailable",
        next_step=CHECK_SERVER,
    )
