"""Wires a handler to Kafka: its clients, its place in the consumer group, its transactions.

On one machine a lock file prevents two handlers with the same identity. Across machines each would
fence the other and, restarted by its supervisor, be fenced in turn: correct, but useless. So a
starting handler first asks the group whether a live member on another host has its identity.
"""

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from producers.handler.batch import Batch
from producers.handler.clients import Codecs
from producers.handler.loop import CommandHandler
from producers.handler.members import GROUP, members, unassigned
from producers.handler.metrics.commands_waiting import CommandsWaiting
from producers.handler.metrics.meter import Meter, RecordingMeter
from producers.handler.open_segments import COMPACTED, SegmentRoller
from producers.handler.opening import RestoreOpener
from producers.handler.partitions.ownership import Ownership
from producers.handler.transaction import MOST_STEP_SECONDS, Transactions
from producers.handler.watchdog import Watchdog
from runtime.kafka import client_classes
from runtime.kafka.clients import (
    admin,
    consumer_config,
    end_reader,
    kafka_failure,
    login_warning,
    lone_consumer,
    transactional_config,
)
from runtime.kafka.registry import Registry
from runtime.metrics.follower import follow
from runtime.metrics.health import HEALTH
from runtime.metrics.kafka_statistics import statistics_config
from runtime.metrics.open_letters import OpenLetters
from runtime.metrics.recording import VALUES
from runtime.process import StopSignal
from runtime.roles.kafka import needed_on_topics
from runtime.roles.table import HANDLER as HANDLER_ROLE
from runtime.settings import Settings
from runtime.topics.access import denied_operations
from runtime.topics.admin import roll_after_ms
from runtime.topics.drift import DriftWatch
from runtime.tracing import tracing_of
from schemas.errors import Forbidden, Misconfigured, Unavailable
from schemas.fields.rules import permit_special_use
from schemas.letters import HANDLER

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
# A restore reads three topics of three partitions at once. librdkafka takes several hundred bytes
# for each message in a queue, of which its limit in bytes counts only the key and the value. With
# its defaults, 160,000 records took 270 MiB, and with queues of 5,000 messages 112 in less time.
# A handler that restored 50,000 records 12 times kept 22 to 30 MiB of them with queues of 5,000,
# and 22 with these and few heaps (`runtime.memory`), in less time, on a machine with its broker.
_SMALL_QUEUES = {"queued.min.messages": 1_000, "fetch.message.max.bytes": 65_536}
_SPARE_SECONDS = 3.0


def start_handler(
    settings: Settings, registry: Registry, instance: str, stop: StopSignal
) -> CommandHandler:
    """Return a handler that has fenced every earlier one of `instance` and is joining the group.

    Raises `Misconfigured` if the instance runs on another host, `Unavailable` without a server.
    """
    permit_special_use(settings.special_use_domains)
    check_topics = DriftWatch(settings)
    check_topics()
    clients = KafkaClients(settings, instance)
    codecs = Codecs.from_registry(registry)
    roller = SegmentRoller(roll_after_ms(settings, COMPACTED))
    clients.require_unique_identity(stop)
    meter = _new_meter(settings)
    # Fence our previous process before anything is read or subscribed.
    transactions = Transactions(settings, clients, Watchdog(MOST_STEP_SECONDS), stop)
    open_restore = RestoreOpener(settings, codecs, clients, transactions)
    ownership = Ownership(settings, clients, open_restore, stop, meter)
    if isinstance(meter, RecordingMeter):
        waiting = CommandsWaiting(settings, lambda: meter.assigned)
        follow(settings, [waiting, OpenLetters(settings, HANDLER)], stop)
    return CommandHandler(
        settings,
        codecs,
        ownership=ownership,
        transactions=transactions,
        roller=roller,
        check_topics=check_topics,
        meter=meter,
        explain=clients.failure,
        stop=stop,
        new_batch=_new_batch(settings, clients.group),
    )


def _new_meter(settings: Settings) -> Meter:
    """Return what records metrics, if anyone can see them."""
    if not settings.metrics_listen:
        return Meter()
    return RecordingMeter(HEALTH, VALUES, settings)


def _new_batch(settings: Settings, group: str) -> Callable[..., Batch]:
    """Return what makes a batch: one that reads and writes contexts of traces if that is on."""
    tracing = tracing_of(settings)
    if tracing is None:
        return Batch
    from producers.handler.traced_batch import TracedBatch

    return partial(TracedBatch, tracing=tracing, group=group)


class KafkaClients:
    """Kafka's clients under the identity of `instance`; see `producers.handler.clients.Clients`."""

    def __init__(self, settings: Settings, instance: str) -> None:
        self._settings = settings
        self.group = settings.named(GROUP)
        self.identity = settings.named(f"{GROUP}-{instance}")

    def unassigned(self) -> set[int] | None:
        """Ask the group's coordinator; this may take 10 s."""
        return unassigned(self._settings)

    def group_consumer(self) -> Consumer:
        """Return a static member of the group, joined once it subscribes."""
        session_ms = int(self._settings.session_timeout_seconds * 1000)
        return client_classes.Consumer(
            consumer_config(self._settings, self.group)
            | statistics_config(self._settings, "handler-consumer")
            | {
                "group.instance.id": self.identity,
                "error_cb": login_warning(self._settings),
                # The host distinguishes this handler from one with the same identity elsewhere.
                "client.id": _client_id(),
                # Not KIP-848's protocol: there a killed static member blocks its own return until
                # its session ends.
                "group.protocol": "classic",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": session_ms // 4,
                # Only partitions that move are restored; the others keep deciding.
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )

    def committed_reader(self) -> Consumer:
        """Return a reader of committed records and of the ends of partitions."""
        return end_reader(self._settings, **_SMALL_QUEUES)

    def uncommitted_reader(self) -> Consumer:
        """Return a reader that sees the high watermark; the others see the last stable offset."""
        return lone_consumer(self._settings, **{"isolation.level": "read_uncommitted"})

    def transactional_producer(self, logger: logging.Logger) -> Producer:
        """Return a producer whose transactional id is our identity."""
        config = transactional_config(self._settings, self.identity)
        statistics = statistics_config(self._settings, "handler-producer")
        return client_classes.Producer(config | statistics | {"logger": logger})

    def failure(self, error: KafkaException) -> Unavailable | Forbidden:
        """Return what `kafka_failure` does; a missing permission is named with its resource.

        librdkafka names only the kind of resource. Of topics, brokers are asked which: up to 10 s.
        """
        code, permission = error.args[0].code(), ""
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            permission = f"Describe and Read on group {self.group}"
        elif code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            permission = f"Describe and Write on transactional id {self.identity}"
        elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            with suppress(KafkaException, Forbidden):  # then it is not known which
                needed = needed_on_topics(self._settings, HANDLER_ROLE)
                permission = denied_operations(admin(self._settings), needed)
        return kafka_failure(self._settings, error, permission)

    def require_unique_identity(self, stop: StopSignal) -> None:
        """Return once no other host's member has our identity.

        A member that died stays in the group until its session ends: this waits that long. Raises
        `Misconfigured` (`instance_taken`) if it is still a member then, `Unavailable` without
        brokers.
        """
        deadline = time.monotonic() + self._settings.session_timeout_seconds + _SPARE_SECONDS
        while not stop:
            host = self._other_host()
            if host is None:
                return
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"a handler on {host} runs as {self.identity}",
                    code="instance_taken",
                    next_step="give every handler of a registry its own --instance",
                )
            log.warning("a handler on %s has our identity: waiting for its session to expire", host)
            stop.wait(_POLL_SECONDS)

    def _other_host(self) -> str | None:
        """Return the client id of a member with our identity on another host, if there is one."""
        for member in members(self._settings):
            if member.group_instance_id == self.identity and member.client_id != _client_id():
                return str(member.client_id)
        return None


def _client_id() -> str:
    return f"rollbook@{socket.gethostname()}"
