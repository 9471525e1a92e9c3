"""The configuration files of the servers, and what every server must know of its place.

Each setting that is not the server's default stands here with its reason; docker-compose.yml holds
the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.stack.fetch import Artefacts
from scripts.stack.places import HOST, ServerUser

SERVERS = ("kafka", "registry", "postgres", "elasticsearch")


@dataclass(frozen=True, slots=True)
class Site:
    """Everything the servers of one stack need to know of the place they run in."""

    data: Path
    configuration: Path
    logs: Path
    password_file: Path
    java: Path
    programs: Artefacts
    ports: Mapping[str, int]
    user: ServerUser | None


def configuration_files(site: Site) -> dict[Path, str]:
    """Return the text of each configuration file, by its path."""
    configuration = site.configuration
    return {
        configuration / "kafka.properties": kafka_properties(site),
        configuration / "kafka-log4j2.properties": _CONSOLE_LOG,
        configuration / "elasticsearch" / "elasticsearch.yml": elasticsearch_yml(site),
        configuration / "elasticsearch" / "log4j2.properties": _CONSOLE_LOG,
        configuration / "elasticsearch" / "jvm.options": _ELASTICSEARCH_JVM,
    }


# All servers log to stdout: the supervisor keeps one rotated file for each.
_CONSOLE_LOG = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


def kafka_properties(site: Site) -> str:
    """Return Kafka's configuration: one node that is broker and controller."""
    client, controller = site.ports["kafka"], site.ports["kafka-controller"]
    options = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"CLIENT://{HOST}:{client},CONTROLLER://{HOST}:{controller}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": site.data / "kafka" / "log",
        **KAFKA_OPTIONS,
    }
    return "".join(f"{name}={value}\n" for name, value in options.items())


KAFKA_OPTIONS: dict[str, str | int] = {
    # A topic that a typing error names must not come into being.
    "auto.create.topics.enable": "false",
    # One node: Kafka's own topics cannot have three copies, and few partitions start faster.
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # The first member of a group need not wait 3 s for others.
    "group.initial.rebalance.delay.ms": 0,
    # Sessions may be short: the default forbids less than 6 s, and tests want less.
    "group.min.session.timeout.ms": 1000,
    # A dead handler's transaction is ended within a second of its timeout, not within ten.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # Compaction looks for work every second instead of every 15, so that tests can watch it.
    "log.cleaner.backoff.ms": 1000,
    # Deleted topics and old segments go at once-a-second pace as well; tests make many topics.
    "log.segment.delete.delay.ms": 1000,
    "log.retention.check.interval.ms": 5_000,
}


def elasticsearch_yml(site: Site) -> str:
    """Return Elasticsearch's configuration: one node, no security, on 127.0.0.1."""
    options = {
        "cluster.name": "rollbook",
        "node.name": "rollbook-1",
        "network.host": HOST,
        "http.port": site.ports["elasticsearch"],
        "transport.port": site.ports["elasticsearch-transport"],
        "path.data": site.data / "elasticsearch" / "data",
        "path.logs": site.data / "elasticsearch" / "logs",
        "discovery.type": "single-node",
        "xpack.security.enabled": "false",
        # A developer's disk is often nine tenths full; that must not make indexes read-only.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        # An index comes into being with its mapping, or not at all; but Kibana's own, with a dot.
        "action.auto_create_index": '"+.*,-*"',
    }
    return "".join(f"{name}: {value}\n" for name, value in options.items())


_ELASTICSEARCH_JVM = """\
-Xms512m
-Xmx512m
-XX:+UseG1GC
-XX:-UsePerfData
-XX:-AlwaysPreTouch
-Djava.io.tmpdir=${ES_TMPDIR}
--add-modules=jdk.incubator.vector
-XX:CompileCommand=dontinline,java/lang/invoke/MethodHandle.setAsTypeCache
-XX:CompileCommand=dontinline,java/lang/invoke/MethodHandle.asTypeUncached
-Dorg.apache.lucene.store.defaultReadAdvice=normal
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
-XX:+ExitOnOutOfMemoryError
"""
