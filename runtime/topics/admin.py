"""Creates the missing topics and reports every topic that differs from its definition."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.admin._topic import TopicDescription
from confluent_kafka.cimpl import NewTopic

from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin, kafka_available, kafka_failure
from runtime.settings import Settings
from runtime.topics.log_ranges import CREATED, LATEST, list_offsets
from schemas.errors import Misconfigured
from schemas.topics import TOPICS, Topic

# Checked but not set when a topic is created: managed brokers refuse to have it set.
_NEVER_SET = {"unclean.leader.election.enable": "false"}


@dataclass(slots=True)
class TopicReport:
    """The result of `ensure_topics` for one topic; `drift` maps option → (wanted, found).

    `options` are what the topic is created with.
    """

    name: str
    purpose: str
    partitions: int
    options: Mapping[str, str] = field(default_factory=dict)
    created: bool = False
    drift: dict[str, tuple[str, str]] = field(default_factory=dict)

    def differences(self) -> list[str]:
        """Return a line for each option that differs."""
        return [
            f"{self.name} has {option}={found}, its definition says {wanted}"
            for option, (wanted, found) in self.drift.items()
        ]


def wanted_partitions(topic: Topic, settings: Settings) -> int:
    """Return how many partitions `topic` has with these settings."""
    return 1 if topic.one_partition else settings.partitions


def ensure_topics(
    settings: Settings, overrides: Mapping[str, Mapping[str, str]] | None = None
) -> list[TopicReport]:
    """Create the missing topics, change no existing one, report every difference. Idempotent.

    `overrides` (topic → config) lets tests shorten segments. Raises `Misconfigured` if a topic has
    another number of partitions: that number is fixed for life, because it determines each user's
    partition.
    """
    with kafka_available(settings):
        client = admin(settings)
        reports = _reports(client, settings, overrides or {})
        _create(client, settings, [report for report in reports if report.created])
    return reports


def topic_reports(settings: Settings) -> list[TopicReport]:
    """Return what `ensure_topics` would, without creating the topics that it would create."""
    with kafka_available(settings):
        return _reports(admin(settings), settings, {})


def _reports(
    client: AdminClient, settings: Settings, overrides: Mapping[str, Mapping[str, str]]
) -> list[TopicReport]:
    reports = []
    existing = _describe(client, settings)
    for topic in TOPICS:
        name, wanted = settings.named(topic.name), wanted_partitions(topic, settings)
        options = topic.config | {"min.insync.replicas": str(settings.min_insync_replicas)}
        options |= overrides.get(topic.name, {})
        found = existing.get(name)
        report = TopicReport(name, topic.purpose, wanted, options, created=found is None)
        reports.append(report)
        if found is None:
            continue
        check_partitions(name, len(found.partitions), wanted)
        with kafka_available(settings, f"DescribeConfigs on topic {name}"):
            report.drift = _drift(client, name, options | _NEVER_SET)
        copies = min(len(partition.replicas) for partition in found.partitions)
        if copies < settings.replication_factor:
            report.drift["replication.factor"] = (str(settings.replication_factor), str(copies))
    return reports


def check_topics(settings: Settings) -> dict[str, str]:
    """Return topic name (without prefix) → Kafka's topic id; called at the start of a process.

    Raises `Misconfigured` if one is missing or has another number of partitions.
    """
    with kafka_available(settings):
        names = {settings.named(topic.name): topic for topic in TOPICS}
        found = _describe(admin(settings), settings)
        ids = {}
        for name, topic in names.items():
            if name not in found:
                raise missing_topic(name)
            description = found[name]
            check_partitions(name, len(description.partitions), wanted_partitions(topic, settings))
            ids[topic.name] = str(description.topic_id)
        return ids


def _describe(client: AdminClient, settings: Settings) -> dict[str, TopicDescription]:
    """Return the topics that exist, by name.

    Raises KafkaException, and `Forbidden` if we may not see whether one exists.
    """
    names = [settings.named(topic.name) for topic in TOPICS]
    futures = client.describe_topics(
        TopicCollection(names), request_timeout=REQUEST_TIMEOUT_SECONDS
    )
    found = {}
    for name, future in futures.items():
        try:
            found[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise kafka_failure(settings, error, f"Describe on topic {name}") from error
    return found


def missing_topic(name: str) -> Misconfigured:
    """Return the error for a topic that does not exist."""
    return Misconfigured(
        f"there is no topic {name}",
        code="missing_topic",
        next_step="`rollbook topics ensure` creates it",
    )


def check_partitions(name: str, found: int, wanted: int) -> None:
    """Raise `Misconfigured` if a topic has another number of partitions than it must have."""
    if found != wanted:
        raise Misconfigured(
            f"topic {name} has {found} partitions, but the setting partitions requires {wanted}",
            code="other_partitions",
            next_step=f"set partitions to {found}: it is fixed for the life of a registry",
        )


def _create(client: AdminClient, settings: Settings, missing: list[TopicReport]) -> None:
    if not missing:
        return
    new = [
        NewTopic(
            report.name,
            num_partitions=report.partitions,
            replication_factor=settings.replication_factor,
            config=dict(report.options),
        )
        for report in missing
    ]
    futures = client.create_topics(new, operation_timeout=REQUEST_TIMEOUT_SECONDS)
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            # Another process may create the same topics at the same time.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                permission = f"Create on topic {name}"
                raise kafka_failure(settings, error, permission) from error
    _wait_for_leaders(client, missing)


def _wait_for_leaders(client: AdminClient, topics: list[TopicReport]) -> None:
    """Return once each partition can be read and written.

    The controller answers slightly before the brokers know a new topic, and they show its leaders
    slightly before these accept requests. So each leader is asked for an offset.
    """
    names = {topic.name for topic in topics}
    deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
    while names - client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics.keys():
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)
    places = [TopicPartition(t.name, number) for t in topics for number in range(t.partitions)]
    list_offsets(client, dict.fromkeys(places, LATEST), passing=CREATED)


def roll_after_ms(settings: Settings, topics: Iterable[Topic]) -> dict[str, int]:
    """Return topic name (with prefix) → the age in ms at which an append closes its segment.

    Uses the broker's values, not the definition. The segment of a compacted topic is also closed
    when it reaches `max.compaction.lag.ms` (KIP-354).
    """
    found = {}
    client = admin(settings)
    for topic in topics:
        name = settings.named(topic.name)
        with kafka_available(settings, f"DescribeConfigs on topic {name}"):
            config = found_config(client, name)
        found[name] = min(int(config["segment.ms"]), int(config["max.compaction.lag.ms"]))
    return found


def found_config(client: AdminClient, name: str) -> dict[str, str]:
    """Return the options of a topic as the broker reports them, defaults included."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    futures = client.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_SECONDS)
    return {option: entry.value for option, entry in futures[resource].result().items()}


def _drift(client: AdminClient, name: str, wanted: dict[str, str]) -> dict[str, tuple[str, str]]:
    found = found_config(client, name)
    return {
        option: (value, found[option])
        for option, value in wanted.items()
        if option in found and found[option] != value
    }
