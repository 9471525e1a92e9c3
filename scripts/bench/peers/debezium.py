"""Measures a peer: Debezium's JDBC sink on Kafka Connect, one standalone worker with one task.

Set up as its documentation advises for speed: batches of the size of a poll, the reduction buffer,
and a driver that turns a batch into one statement (`reWriteBatchedInserts`). It reads Avro through
Apicurio's converter, into a table like ours.
"""

import secrets
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.bench.rate import filling_rate
from scripts.bench.stores import UserTable, postgres_login
from scripts.bench.workload.processes import running
from scripts.stack.jdk import choose_jdk
from scripts.stack.maven import fetch_with_maven
from scripts.stack.places import HOST, free_port
from scripts.stack.server_files import console_log

NAME: Final = "Debezium JDBC sink 3.6.0 on Kafka Connect 4.2.1"
GUARANTEE: Final = (
    "at least once; upsert by key without versions: an older record that is replayed overwrites a "
    "newer one; no summary; offsets apart from the data"
)
_MEGABYTES: Final = (100, 101)  # downloaded and unpacked
_BATCH_ROWS: Final = 5000
_CCOMPAT: Final = "/apis/ccompat/v7"


def debezium_rows_per_second(settings: Settings, topic: str, table: UserTable, count: int) -> float:
    """Have the sink write the `count` records of `topic` into the empty `table`; return its rate.

    Raises `Misconfigured` or `Unavailable` if it cannot be fetched or run here, `CheckFailed` if it
    fails.
    """
    if settings.kafka_security_protocol.lower() != "plaintext":
        raise Misconfigured("Kafka Connect is only run against a broker without security")
    java_home = choose_jdk(None).home
    pom = resources.files("scripts.bench.peers").joinpath("pom.xml").read_bytes()
    files = fetch_with_maven("peers", pom, None, java_home, megabytes=_MEGABYTES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log4j2.properties").write_text(console_log("warn"), encoding="utf-8")
        command: list[str | Path] = [
            java_home / "bin" / "java",
            *("-Xms256M", "-Xmx2G"),  # the heap that Kafka's own script gives a worker
            f"-Dlog4j2.configurationFile={folder}/log4j2.properties",
            *("-cp", f"{files}/connect/*", "org.apache.kafka.connect.cli.ConnectStandalone"),
            _write(folder / "worker.properties", _worker_options(settings, files, folder)),
            _write(folder / "sink.properties", _sink_options(settings, topic, table)),
        ]
        with running(command) as worker:
            return filling_rate(table.count, count, worker.alive)


def _worker_options(settings: Settings, files: Path, folder: Path) -> dict[str, object]:
    if not settings.registry_url.endswith(_CCOMPAT):
        raise Misconfigured("its converter only reads the schemas of an Apicurio registry")
    registry = settings.registry_url.removesuffix(_CCOMPAT) + "/apis/registry/v2"
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "io.apicurio.registry.utils.converter.AvroConverter",
        "value.converter.apicurio.registry.url": registry,
        "value.converter.apicurio.registry.as-confluent": "true",
        "value.converter.apicurio.registry.use-id": "contentId",
        "offset.storage.file.filename": folder / "offsets",
        "plugin.path": files / "plugins",
        "listeners": f"http://{HOST}:{free_port(set())}",
        "consumer.auto.offset.reset": "earliest",
        # A batch is never larger than a poll, which returns 500 records by default.
        "consumer.max.poll.records": _BATCH_ROWS,
    }


def _sink_options(settings: Settings, topic: str, table: UserTable) -> dict[str, object]:
    login = postgres_login(settings)
    return {
        # Also names its consumer group, so it must be new: a known group has offsets.
        "name": f"{topic}-{secrets.token_hex(4)}",
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": 1,
        "topics": topic,
        # The ids are text on the log; `unspecified` leaves their conversion to PostgreSQL.
        "connection.url": (
            f"jdbc:postgresql://{login['host']}:{login['port']}/{login['dbname']}"
            "?stringtype=unspecified&reWriteBatchedInserts=true"
        ),
        "connection.username": login["user"],
        "connection.password": login["password"],
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "user_id",
        "collection.name.format": f"{table.schema}.{table.name}",
        "schema.evolution": "none",
        "batch.size": _BATCH_ROWS,
        "use.reduction.buffer": "true",
    }


def _write(path: Path, options: Mapping[str, object]) -> Path:
    """Write a properties file that only we can read: one contains a password."""
    lines = (
        f"{name}={str(value).replace(chr(92), chr(92) * 2)}\n" for name, value in options.items()
    )
    path.touch(0o600)
    path.write_text("".join(lines), encoding="utf-8")
    return path
