"""The four native servers: their one-off preparation, and the command that runs each.

Every option that is not a server's default has its reason beside it, here and in server_files.
"""

import re
import secrets
import subprocess
from dataclasses import replace
from typing import Any

from schemas.errors import Unavailable
from scripts.stack.brokers import FIRST, bootstrap_servers, broker_names, with_all_brokers
from scripts.stack.log_end import last_lines
from scripts.stack.native.programs import Program
from scripts.stack.native.server_files import SERVERS, Site, configuration_files
from scripts.stack.places import HOST, as_user, give, remove
from scripts.stack.record import write_private
from scripts.stack.secure import elasticsearch, kafka
from scripts.stack.secure import postgres as secure_postgres
from scripts.stack.secure.certificates import ensure_certificates
from scripts.stack.secure.logins import ADMIN, password, services_certificate, write_admin


def prepare(site: Site) -> None:
    """Write the servers' configuration; create and initialise the data folders that are missing."""
    servers = with_all_brokers(SERVERS, site.ports)
    folders = [site.data / name for name in ("", *servers, "elasticsearch/tmp", "registry/tmp")]
    folders += [site.configuration, site.configuration / "elasticsearch"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        give(folder, site.user)
    for path, text in configuration_files(site).items():
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        give(path, site.user)
    if not site.password_file.exists():
        write_private(site.password_file, secrets.token_urlsafe(24) + "\n")
    if site.secure:
        _prepare_security(site)
    format_kafka(site)
    _init_postgres(site)


def _prepare_security(site: Site) -> None:
    folders = [*map(site.certificate, SERVERS), services_certificate(site.stack)]
    ensure_certificates(site.stack, folders, site.user)
    elasticsearch.write_admin(
        site.configuration / "elasticsearch", site.user, password(site.stack, ADMIN)
    )
    write_admin(site.stack, site.ports)


def programs(site: Site) -> list[Program]:
    """Return the program of each server."""
    brokers = [kafka_program(site, name) for name in broker_names(site.ports)]
    all_of_them = [*brokers, _registry(site), _postgres(site), _elasticsearch(site)]
    wanted = with_all_brokers(site.servers, site.ports)
    return [
        replace(program, starts_at_once=program.starts_at_once and program.name in wanted)
        for program in all_of_them
    ]


def _java_classes(site: Site, *options: str) -> list[str]:
    log4j = site.configuration / "kafka-log4j2.properties"
    return [
        str(site.java.home / "bin" / "java"),
        "-XX:-UsePerfData",  # a file in /tmp that only monitoring tools of the same user read
        *options,
        f"-Dlog4j2.configurationFile={log4j}",
        "-cp",
        f"{site.programs.kafka}/*",
    ]


def kafka_program(site: Site, name: str = FIRST) -> Program:
    """Return the program of the broker `name`; its configuration is `NAME.properties`."""
    is_alone = len(broker_names(site.ports)) == 1
    heap = ("-Xms256m", "-Xmx512m") if is_alone else ("-Xms128m", "-Xmx384m")
    options = (*heap, "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError")
    return Program(
        name,
        [
            *_java_classes(site, *options),
            "kafka.Kafka",
            str(site.configuration / f"{name}.properties"),
        ],
        directory=site.data / name,
        priority=10,
        # The last of several waits for a majority of controllers, which has ended, and is killed.
        stop_seconds=30 if is_alone else 15,
    )


# Three weeks: close to the most that a 32-bit integer holds.
_FOR_EVER_MS = 2_000_000_000


def _registry(site: Site) -> Program:
    options = [
        "-XX:-UsePerfData",
        "-Xms128m",
        "-Xmx512m",
        # It serves a few requests a minute: a quick start matters more than peak speed.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        f"-Djava.io.tmpdir={site.data / 'registry' / 'tmp'}",
        f"-Dquarkus.http.host={HOST}",
        f"-Dquarkus.http.port={site.ports['registry']}",
        # Health and metrics, which nothing here uses, would listen on port 9000 of all interfaces.
        f"-Dquarkus.management.host={HOST}",
        "-Dquarkus.management.port=0",  # any free one
        # The default keeps schemas in memory: after a restart they would get other ids.
        "-Dapicurio.storage.kind=kafkasql",
        f"-Dapicurio.kafkasql.bootstrap.servers={bootstrap_servers(site.ports)}",
        "-Dapicurio.kafkasql.topic=apicurio-journal",
        "-Dapicurio.kafkasql.snapshots.topic=apicurio-snapshots",
        "-Dapicurio.events.kafka.topic=apicurio-events",
        # At its start the registry waits this long for records, twice; the default makes it 10 s.
        "-Dapicurio.kafkasql.consumer.poll.timeout=1000",
        # Without Kafka it waits for it: after the default of a minute it would start without its
        # storage, and answer every request with 500 until it is started again.
        f"-Dapicurio.kafkasql.admin.default.api.timeout.ms={_FOR_EVER_MS}",
        f"-Dapicurio.kafkasql.consumer.default.api.timeout.ms={_FOR_EVER_MS}",
        # Otherwise each start logs a thousand lines of client settings, and each request a line.
        '-Dquarkus.log.category."org.apache.kafka".level=WARN',
        "-Dquarkus.http.access-log.enabled=false",
        f"-Dapicurio.storage.snapshot.location={site.data / 'registry' / 'tmp'}",
        f"-Dapicurio.import.work-dir={site.data / 'registry' / 'tmp'}",
    ]
    if site.secure:
        properties = site.configuration / "registry.properties"
        options.append(f"-Dquarkus.config.locations={properties}")
    return Program(
        "registry",
        [
            str(site.java.home / "bin" / "java"),
            *options,
            "-jar",
            str(site.programs.registry / "quarkus-run.jar"),
        ],
        directory=site.data / "registry",
        priority=20,
        # It ends without its permissions in Kafka, which a running broker must be given.
        starts_at_once=not site.secure,
    )


def _postgres(site: Site) -> Program:
    settings: dict[str, Any] = {
        "port": site.ports["postgres"],
        "listen_addresses": HOST,
        # No Unix socket: its path may be too long, and every client uses loopback.
        "unix_socket_directories": "",
        "shared_buffers": "256MB",
        # With the default of 1 GB, a rebuild writes checkpoints all the time.
        "max_wal_size": "4GB",
        "max_connections": 200,
        # DETAIL and statements contain rows, which are personal data: keep them out of the log.
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
    }
    if site.secure:
        settings |= secure_postgres.security_options(
            site.configuration, site.certificate("postgres")
        )
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Program(
        "postgres",
        [
            str(site.programs.postgres / "bin" / "postgres"),
            "-D",
            str(site.data / "postgres" / "cluster"),
            *options,
        ],
        directory=site.data / "postgres",
        priority=20,
        stop_signal="INT",  # a fast shutdown; TERM waits until every client has disconnected
    )


def _elasticsearch(site: Site) -> Program:
    return Program(
        "elasticsearch",
        [str(site.programs.elasticsearch / "bin" / "elasticsearch")],
        directory=site.data / "elasticsearch",
        priority=20,
        environment={
            "ES_JAVA_HOME": str(site.java.home),
            "ES_PATH_CONF": str(site.configuration / "elasticsearch"),
            "ES_TMPDIR": str(site.data / "elasticsearch" / "tmp"),
            "CLI_JAVA_OPTS": "-XX:-UsePerfData",
            "HOME": str(site.data / "elasticsearch"),
        },
    )


def format_kafka(site: Site) -> None:
    """Initialise the brokers' data folders, each once. Raises `Unavailable` with its last lines."""
    files = {
        name: site.data / name / "log" / "meta.properties" for name in broker_names(site.ports)
    }
    formatted = [file.read_text(encoding="utf-8") for file in files.values() if file.exists()]
    found = re.search(r"^cluster\.id=(.+)$", formatted[0], re.MULTILINE) if formatted else None
    # 16 bytes in Kafka's encoding; the tool would read a leading hyphen as an option.
    cluster = found[1] if found else "R" + secrets.token_urlsafe(16)[1:]
    for name, file in files.items():
        if not file.exists():
            _format_broker(site, name, cluster)


def _format_broker(site: Site, name: str, cluster: str) -> None:
    properties = str(site.configuration / f"{name}.properties")
    tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", properties]
    options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    first = site.data / name / "first-logins"
    if site.secure:
        first.touch(mode=0o600)
        first.write_text(kafka.first_logins(site.stack), encoding="utf-8")
        give(first, site.user)
        tool.append(f"@{first}")  # its passwords would otherwise be on a command line
    try:
        _run(site, "kafka-format", [*_java_classes(site, *options), *tool])
    finally:
        first.unlink(missing_ok=True)


def _init_postgres(site: Site) -> None:
    cluster = site.data / "postgres" / "cluster"
    if (cluster / "rollbook-initialised").exists():
        return
    remove(cluster)  # left by an interrupted start: initdb requires an empty folder
    # initdb runs as the servers' user, who may not read our file.
    password = site.data / "postgres" / "password"
    password.write_text(site.password_file.read_text(encoding="utf-8"), encoding="utf-8")
    give(password, site.user)
    try:
        _run(
            site,
            "postgres-initdb",
            [
                str(site.programs.postgres / "bin" / "initdb"),
                *("-D", str(cluster)),
                *("--username", site.postgres_superuser, "--pwfile", str(password)),
                *("--auth", "scram-sha-256", "--encoding", "UTF8"),
                # PostgreSQL's own Unicode rules: the same on every system, and fast.
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            ],
        )
        # Without a server: starting and stopping one would take longer.
        single = [str(site.programs.postgres / "bin" / "postgres"), "--single", "-D", str(cluster)]
        _run(site, "postgres-initdb", [*single, "postgres"], stdin="CREATE DATABASE rollbook\n")
    finally:
        password.unlink()
    (cluster / "rollbook-initialised").touch()


def _run(site: Site, name: str, command: list[str], *, stdin: str = "") -> None:
    """Run a one-off `command` as the servers' user. Raises `Unavailable` with its last lines."""
    log = site.logs / f"{name}.log"
    log.touch(mode=0o600)  # Kafka's tool prints the keys that it derives from the first passwords
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command,
            cwd=site.data,
            input=stdin,
            stdout=output,
            stderr=output,
            text=True,
            check=False,
            **as_user(site.user),
        )
    if done.returncode != 0:
        raise Unavailable(
            f"{name} failed; its log {log} ends with:\n{last_lines(log)}", code="server_failed"
        )
