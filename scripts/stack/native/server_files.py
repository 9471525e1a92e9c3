"""The servers' configuration files, and the values they depend on.

Every setting that is not the server's default has its reason beside it. docker-compose.yml has the
same settings.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack.brokers import CLUSTER_OPTIONS, FIRST, broker_names, quorum_voters
from scripts.stack.download.fetch import Artefacts
from scripts.stack.download.jdk import VECTOR_MODULE, Jdk
from scripts.stack.places import HOST, ServerUser
from scripts.stack.secure import elasticsearch, kafka, registry
from scripts.stack.secure import postgres as secure_postgres
from scripts.stack.secure.logins import ADMIN

SERVERS = ("kafka", "registry", "postgres", "elasticsearch")


@dataclass(frozen=True, slots=True)
class Site:
    """The folders, ports, user and Java of the servers of the stack in the folder `stack`."""

    stack: Path
    data: Path
    configuration: Path
    logs: Path
    password_file: Path
    java: Jdk
    programs: Artefacts
    ports: Mapping[str, int]
    user: ServerUser | None
    # Whether the servers demand TLS and logins, with the certificates of `certificate`.
    secure: bool = False
    # Those that start at once; the others wait until somebody starts them.
    servers: Collection[str] = SERVERS

    @property
    def postgres_superuser(self) -> str:
        """The login that owns the database."""
        return ADMIN if self.secure else "rollbook"

    def certificate(self, server: str) -> Path:
        """Return the folder of a server's certificate."""
        # Elasticsearch reads only files below its configuration.
        parent = server if server == "elasticsearch" else "certificates"
        return self.configuration / parent / server


def configuration_files(site: Site) -> dict[Path, str]:
    """Return the text of each configuration file by its path."""
    configuration = site.configuration
    files = {
        **{
            configuration / f"{name}.properties": kafka_properties(site, name)
            for name in broker_names(site.ports)
        },
        configuration / "kafka-log4j2.properties": console_log("info"),
        configuration / "elasticsearch" / "elasticsearch.yml": elasticsearch_yml(site),
        configuration / "elasticsearch" / "log4j2.properties": console_log("info"),
        configuration / "elasticsearch" / "jvm.options": jvm_options(site),
    }
    if site.secure:
        files[configuration / "pg_hba.conf"] = secure_postgres.HBA
        files[configuration / "registry.properties"] = registry.properties(
            site.stack, site.ports["registry"], site.certificate("registry")
        )
    return files


def console_log(level: str) -> str:
    """Return a Log4j configuration for stdout, from where supervisord writes a rotated file."""
    return f"""\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = {level}
rootLogger.appenderRef.console.ref = console
"""


def kafka_properties(site: Site, name: str = FIRST) -> str:
    """Return the configuration of one of the brokers, each of which is a controller as well."""
    client, controller = site.ports[name], site.ports[f"{name}-controller"]
    names = broker_names(site.ports)
    options: dict[str, Any] = {
        "process.roles": "broker,controller",
        "node.id": names.index(name) + 1,
        "controller.quorum.voters": quorum_voters(site.ports),
        "listeners": f"CLIENT://{HOST}:{client},CONTROLLER://{HOST}:{controller}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": site.data / name / "log",
        **KAFKA_OPTIONS,
    }
    if len(names) > 1:
        options |= {**CLUSTER_OPTIONS, "broker.rack": name}
    if site.secure:
        options |= kafka.security_options(site.stack, site.certificate("kafka"))
    return "".join(f"{name}={value}\n" for name, value in options.items())


KAFKA_OPTIONS: dict[str, str | int] = {
    # A misspelt topic name must be an error.
    "auto.create.topics.enable": "false",
    # With one node, Kafka's internal topics cannot have replicas; few partitions start faster.
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # By default the first member of a group waits 3 s for others.
    "group.initial.rebalance.delay.ms": 0,
    # Tests use session timeouts below the default minimum of 6 s.
    "group.min.session.timeout.ms": 1000,
    # A dead handler's transaction is aborted within 1 s of its timeout instead of 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # Compaction looks for work every second instead of every 15 s, so that tests can wait for it.
    "log.cleaner.backoff.ms": 1000,
    # The cleaner clears its table of keys before each log, however small: 128 MB by default.
    "log.cleaner.dedupe.buffer.size": 16 << 20,
    # Deleted topics and old segments are removed soon as well: tests create many topics.
    "log.segment.delete.delay.ms": 1000,
    "log.retention.check.interval.ms": 5_000,
}


def elasticsearch_yml(site: Site) -> str:
    """Return Elasticsearch's configuration: one node on 127.0.0.1."""
    options: dict[str, Any] = {
        "cluster.name": "rollbook",
        "node.name": "rollbook-1",
        "network.host": HOST,
        "http.port": site.ports["elasticsearch"],
        "transport.port": site.ports["elasticsearch-transport"],
        # A JSON string is a YAML string, whatever characters it has.
        "path.data": json.dumps(str(site.data / "elasticsearch" / "data")),
        "path.logs": json.dumps(str(site.data / "elasticsearch" / "logs")),
        "discovery.type": "single-node",
        "xpack.security.enabled": "false",
        # A developer's disk is often 90 % full, which would make indexes read-only.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        # Indexes are created with their mapping, never implicitly; except Kibana's own (".*").
        "action.auto_create_index": '"+.*,-*"',
    }
    if site.secure:
        options |= elasticsearch.security_options()
    return "".join(f"{name}: {value}\n" for name, value in options.items())


def jvm_options(site: Site) -> str:
    """Return Elasticsearch's own JVM options, with a smaller heap and no files in /tmp."""
    vectors = f"--add-modules={VECTOR_MODULE}\n" if site.java.has_vectors else ""
    security = elasticsearch.JVM_OPTIONS if site.secure else ""
    return _ELASTICSEARCH_JVM + vectors + security


_ELASTICSEARCH_JVM = """\
-Xms512m
-Xmx512m
-XX:+UseG1GC
-XX:-UsePerfData
-XX:-AlwaysPreTouch
-Djava.io.tmpdir=${ES_TMPDIR}
-XX:CompileCommand=dontinline,java/lang/invoke/MethodHandle.setAsTypeCache
-XX:CompileCommand=dontinline,java/lang/invoke/MethodHandle.asTypeUncached
-Dorg.apache.lucene.store.defaultReadAdvice=normal
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
-XX:+ExitOnOutOfMemoryError
"""
