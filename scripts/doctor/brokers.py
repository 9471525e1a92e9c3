"""Checks of Kafka: topics and their copies, the brokers' release, clock and disks, transactions."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import cached_property
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from projectors.log.times import iso_time
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin, end_reader, kafka_available
from runtime.settings import Settings
from runtime.topics.admin import TopicReport, topic_reports
from runtime.topics.drift import fix_command, lossy_drift
from runtime.topics.log_ranges import LATEST, LogRange, Place, read_ranges
from schemas.topics import TOPICS
from scripts.doctor.clocks import clock_finding
from scripts.doctor.finding import (
    Examination,
    Finding,
    NotCheckable,
    ok,
    optional_package,
    problem,
    warning,
)

_INTERNAL: Final = ("__consumer_offsets", "__transaction_state")
# The highest `metadata.version` that the brokers of a release support (Kafka's MetadataVersion).
_RELEASES: Final = ((25, "4.0"), (27, "4.1"), (29, "4.2"), (30, "4.3"), (33, "4.4"))
_OLDEST_LEVEL: Final = 22  # of Kafka 4.0
_WITH_BUG: Final = {"4.3", "4.4"}
# Brokers look for transactions that have timed out every 10 s by default.
_SPARE_SECONDS: Final = 20.0
_FREE_PROBLEM, _FREE_WARNING = 0.05, 0.15


class BrokerFacts:
    """What brokers say, each read once."""

    def __init__(self, examination: Examination) -> None:
        self.settings = examination.settings

    @cached_property
    def client(self) -> AdminClient:
        """The admin client; it is kept, because its futures never resolve once it is gone."""
        return admin(self.settings)

    @cached_property
    def topics(self) -> dict[str, TopicDescription]:
        """Our topics and Kafka's own, as far as they exist and we may see them."""
        names = [self.settings.named(topic.name) for topic in TOPICS]
        found = {}
        with kafka_available(self.settings):
            futures = self.client.describe_topics(
                TopicCollection([*names, *_INTERNAL]), request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        for name, future in futures.items():
            if future.exception() is None:
                found[name] = future.result()
        return found

    @cached_property
    def details(self) -> Any:
        """The client of kafka-python: librdkafka asks neither for features nor for disks."""
        kafka = optional_package("kafka")
        of, optional = self.settings, {}
        if of.kafka_oauth_token_url:
            raise NotCheckable(
                "the client for this question cannot request tokens (OAUTHBEARER)",
                "ask brokers with Kafka's own tools",
            )
        if of.kafka_sasl_mechanism:
            optional = {
                "sasl_mechanism": of.kafka_sasl_mechanism.upper(),
                "sasl_plain_username": of.kafka_sasl_username,
                "sasl_plain_password": of.secret("kafka_sasl_password"),
            }
        return kafka.KafkaAdminClient(
            bootstrap_servers=of.kafka_bootstrap_servers.split(","),
            security_protocol=of.kafka_security_protocol.upper(),
            ssl_cafile=of.kafka_ssl_ca_location or None,
            ssl_certfile=of.kafka_ssl_certificate_location or None,
            ssl_keyfile=of.kafka_ssl_key_location or None,
            ssl_password=of.kafka_ssl_key_password or None,
            client_id="rollbook-doctor",
            bootstrap_timeout_ms=int(REQUEST_TIMEOUT_SECONDS * 1000),
            request_timeout_ms=int(REQUEST_TIMEOUT_SECONDS * 1000),
            **optional,
        )

    def close(self) -> None:
        """Close the connections."""
        if "details" in self.__dict__:
            self.details.close()


def topics(facts: BrokerFacts) -> Iterator[Finding]:
    """Compare the topics with their definitions."""
    return topic_findings(topic_reports(facts.settings), facts.settings)


def topic_findings(reports: Iterable[TopicReport], settings: Settings) -> Iterator[Finding]:
    """Yield what differs from the definitions of the topics."""
    for report in reports:
        if report.created:
            yield problem(f"there is no topic {report.name}", "`rollbook topics ensure` creates it")
        lossy = {option for option, _, _ in lossy_drift(report, settings)}
        for option, (wanted, found) in report.drift.items():
            text = f"topic {report.name} has {option}={found}, its definition says {wanted}"
            if option in lossy:
                yield problem(
                    f"{text}: Kafka deletes records that are needed", _fix(report, settings)
                )
            else:
                yield warning(text, _fix(report, settings))


def _fix(report: TopicReport, settings: Settings) -> str:
    return f"`{fix_command(report, settings)}`"


def replicas(facts: BrokerFacts) -> Iterator[Finding]:
    """Look for partitions that cannot be written or lack copies."""
    for name, found in facts.topics.items():
        copies = [(len(p.replicas), len(p.isr), p.leader is not None) for p in found.partitions]
        yield from replica_findings(name, copies, facts.settings)


def replica_findings(
    name: str, copies: Iterable[tuple[int, int, bool]], settings: Settings
) -> Iterator[Finding]:
    """Yield what is wrong with a topic; for each partition: copies, those in sync, has a leader."""
    found = list(copies)
    needed = settings.min_insync_replicas
    stopped = sum(not has_leader or in_sync < needed for _, in_sync, has_leader in found)
    lacking = sum(in_sync < count for count, in_sync, _ in found) - stopped
    remedy = "start the brokers that are down; `kafka-topics.sh --describe` shows which"
    if stopped:
        yield problem(f"{stopped} partitions of topic {name} cannot be written", remedy)
    if lacking > 0:
        yield warning(f"{lacking} partitions of topic {name} lack copies in sync", remedy)
    if name in _INTERNAL and min(one[0] for one in found) < settings.replication_factor:
        yield warning(
            f"Kafka's topic {name} has fewer copies than the setting replication_factor",
            "raise it with `kafka-reassign-partitions.sh`, and set its replication factor on the "
            "brokers",
        )


def release(facts: BrokerFacts) -> list[Finding]:
    """Look which release the brokers run, and whether it is one that loses markers."""
    features = facts.details.describe_features()
    return [release_finding(features.get("metadata.version", {}).get("supported", (0, 0))[1])]


def release_finding(level: int) -> Finding:
    """Return what to think of brokers that support this `metadata.version` (ADR 0011)."""
    name = next((name for most, name in _RELEASES if level <= most), "")
    if level < _OLDEST_LEVEL:
        return warning("Kafka is older than 4.0: no test runs it", "upgrade to Kafka 4.2")
    if name in _WITH_BUG:
        return problem(
            f"the brokers are of Kafka {name}; 4.3.0, 4.3.1 and 4.4.0 lose transaction markers",
            "run 4.2, or a release whose notes name KAFKA-20734 as fixed (docs/decisions/0011)",
        )
    if not name:
        return warning(
            "Kafka is newer than any release that was known when this rollbook was written",
            "check that its release notes name KAFKA-20734 as fixed (docs/decisions/0011)",
        )
    return ok(f"the brokers are of Kafka {name}")


def clock(facts: BrokerFacts) -> list[Finding]:
    """Compare our clock with that of the active controller."""
    before = time.time()
    quorum = _permitted(facts.details.describe_metadata_quorum)["topics"][0]["partitions"][0]
    after = time.time()
    voters = {one["replica_id"]: one for one in quorum.get("current_voters", ())}
    theirs = voters.get(quorum.get("leader_id"), {}).get("last_caught_up_timestamp", -1)
    if theirs <= 0:
        raise NotCheckable("the controller does not tell its time")
    return [clock_finding("Kafka's controller", theirs / 1000, before, after)]


def disk(facts: BrokerFacts) -> Iterator[Finding]:
    """Look how full the disks of the brokers are."""
    for broker in _permitted(facts.details.describe_log_dirs):
        for one in broker["log_dirs"]:
            where = f"broker {broker['broker']}, {one['log_dir']}"
            if one["error_code"]:
                yield problem(f"{where}: the folder failed", "look into the broker's log")
            elif one.get("total_bytes", -1) > 0:
                yield disk_finding(where, one["usable_bytes"] / one["total_bytes"])


def disk_finding(where: str, free: float) -> Finding:
    """Return what to think of a disk of which a fraction is `free`."""
    text = f"{where}: {free:.0%} of the disk is free"
    remedy = "free space or add a disk: a broker whose disk is full stops"
    if free < _FREE_PROBLEM:
        return problem(text, remedy)
    return warning(text, remedy) if free < _FREE_WARNING else ok(text)


def _permitted(ask: Any) -> Any:
    from kafka.errors import ClusterAuthorizationFailedError

    try:
        return ask()
    except ClusterAuthorizationFailedError:
        raise NotCheckable("this needs the permission Describe on the cluster") from None


def transactions(facts: BrokerFacts) -> Iterator[Finding]:
    """Look for transactions that stay open: readers of their partitions wait for them."""
    names = [facts.settings.named(topic.name) for topic in TOPICS]
    places = [
        TopicPartition(name, one.id)
        for name in names
        if name in facts.topics
        for one in facts.topics[name].partitions
    ]
    with kafka_available(facts.settings):
        stable = _ends(facts.client, places, IsolationLevel.READ_COMMITTED)
        ends = _ends(facts.client, places, IsolationLevel.READ_UNCOMMITTED)
    first = {p: LogRange(at, at + 1) for p, at in stable.items() if at < ends.get(p, 0)}
    return transaction_findings(_times(facts.settings, first), time.time(), facts.settings)


def transaction_findings(
    since_ms: Mapping[Place, int], now: float, settings: Settings
) -> Iterator[Finding]:
    """Yield the transactions that have been open for longer than a handler's may last."""
    for (topic, partition), begun in sorted(since_ms.items()):
        if now - begun / 1000 > settings.transaction_timeout_seconds + _SPARE_SECONDS:
            yield problem(
                f"a transaction in {topic} partition {partition} is open since {iso_time(begun)}: "
                "nothing after it is read",
                f"`kafka-transactions.sh --bootstrap-server {settings.kafka_bootstrap_servers} "
                f"find-hanging --topic {topic} --partition {partition}` names it; run `rollbook "
                "verify` before and after you abort it (docs/decisions/0011)",
            )


def _ends(
    client: AdminClient, places: list[TopicPartition], level: IsolationLevel
) -> dict[Place, int]:
    futures = client.list_offsets(
        dict.fromkeys(places, LATEST),
        isolation_level=level,
        request_timeout=REQUEST_TIMEOUT_SECONDS,
    )
    found = {}
    for place, future in futures.items():
        try:
            found[place.topic, place.partition] = int(future.result().offset)
        except KafkaException:
            continue  # a partition without a leader is a finding of `replicas`
    return found


def _times(settings: Settings, wanted: Mapping[Place, LogRange]) -> dict[Place, int]:
    """Return when the first record in each range was written, whether it is committed or not."""
    times: dict[Place, int] = {}
    if not wanted:
        return times
    with closing(end_reader(settings, **{"isolation.level": "read_uncommitted"})) as consumer:
        for messages in read_ranges(settings, consumer, wanted):
            for one in messages:
                times.setdefault((one.topic() or "", one.partition() or 0), one.timestamp()[1])
    return times
