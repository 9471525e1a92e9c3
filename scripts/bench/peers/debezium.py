"""Measures a peer: Debezium's JDBC sink on Kafka Connect, one standalone worker, one or two tasks.

The worker runs for the whole benchmark, as it would in use: each measurement is a new connector in
the same JVM, whose code is compiled by then. Set up as its documentation advises for speed: batches
of the size of a poll, the reduction buffer, and a driver that turns a batch into one statement
(`reWriteBatchedInserts`). It reads Avro through Apicurio's converter, into a table like ours.
"""

import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import httpx2

from runtime.settings import Settings
from schemas.errors import CheckFailed, Misconfigured
from scripts.bench.workload.processes import Running, running
from scripts.bench.workload.rate import filling_rate
from scripts.bench.workload.stores import UserTable, postgres_login
from scripts.stack.download.jdk import choose_jdk
from scripts.stack.download.maven import fetch_with_maven
from scripts.stack.native.server_files import console_log
from scripts.stack.places import HOST, free_port

NAME: Final = "Debezium JDBC sink 3.6.0 on Kafka Connect 4.2.1"
GUARANTEE: Final = (
    "at least once; upsert by key without versions: an older record that is replayed overwrites a "
    "newer one; no summary; offsets apart from the data"
)
_MEGABYTES: Final = (100, 101)  # downloaded and unpacked
_BATCH_ROWS: Final = 5000
_ANSWER_SECONDS: Final = 60.0
# It takes ten seconds to start, and a minute on a busy machine.
_READY_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 0.1
_CCOMPAT: Final = "/apis/ccompat/v7"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that runs."""

    address: str
    process: Running
    settings: Settings

    def rows_per_second(self, topic: str, table: UserTable, count: int, tasks: int = 1) -> float:
        """Have a sink of so many tasks write the `count` records of `topic` into an empty `table`.

        Returns its rate. Raises `CheckFailed` if it fails.
        """
        # Also names its consumer group, so it must be new: a known group has offsets.
        name = f"{topic}-{secrets.token_hex(4)}"
        body = {"name": name, "config": _sink_options(self.settings, topic, table, tasks)}
        self._ask("POST", "/connectors", body)
        try:
            return filling_rate(table.count, count, self.process.alive)
        finally:
            self._ask("DELETE", f"/connectors/{name}")

    def _ask(self, method: str, path: str, body: object = None) -> None:
        answer = httpx2.request(method, f"{self.address}{path}", json=body, timeout=_ANSWER_SECONDS)
        if answer.is_error:
            raise CheckFailed(f"{method} {path} was answered with {answer.status_code}")

    def is_ready(self) -> bool:
        """Return whether it answers."""
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{self.address}/connectors", timeout=_ANSWER_SECONDS).is_success
        return False


@contextmanager
def running_worker(settings: Settings) -> Iterator[Worker]:
    """Run a worker without connectors; yield it once it answers.

    Raises `Misconfigured` or `Unavailable` if it cannot be fetched or run here, `CheckFailed` if it
    does not start.
    """
    if settings.kafka_security_protocol.lower() != "plaintext":
        raise Misconfigured("Kafka Connect is only run against a broker without security")
    java_home = choose_jdk(None).home
    pom = resources.files("scripts.bench.peers").joinpath("pom.xml").read_bytes()
    files = fetch_with_maven("peers", pom, None, java_home, megabytes=_MEGABYTES)
    address = f"http://{HOST}:{free_port(set())}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log4j2.properties").write_text(console_log("warn"), encoding="utf-8")
        command: list[str | Path] = [
            java_home / "bin" / "java",
            *("-Xms256M", "-Xmx2G"),  # the heap that Kafka's own script gives a worker
            f"-Dlog4j2.configurationFile={folder}/log4j2.properties",
            *("-cp", f"{files}/connect/*", "org.apache.kafka.connect.cli.ConnectStandalone"),
            _write(folder / "worker.properties", _worker_options(settings, files, folder, address)),
        ]
        with running(command) as process:
            worker = Worker(address, process, settings)
            deadline = time.monotonic() + _READY_SECONDS
            while not worker.is_ready():
                if not process.alive() or time.monotonic() > deadline:
                    raise CheckFailed("Kafka Connect did not start")
                time.sleep(_LOOK_SECONDS)
            yield worker


def _worker_options(
    settings: Settings, files: Path, folder: Path, address: str
) -> dict[str, object]:
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
        "listeners": address,
        "consumer.auto.offset.reset": "earliest",
        # A batch is never larger than a poll, which returns 500 records by default.
        "consumer.max.poll.records": _BATCH_ROWS,
    }


def _sink_options(
    settings: Settings, topic: str, table: UserTable, tasks: int
) -> dict[str, object]:
    login = postgres_login(settings)
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": tasks,  # each is a thread with a connection and partitions of its own
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
    """Write a properties file."""
    lines = (
        f"{name}={str(value).replace(chr(92), chr(92) * 2)}\n" for name, value in options.items()
    )
    path.write_text("".join(lines), encoding="utf-8")
    return path
