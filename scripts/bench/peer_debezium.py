"""Measures a peer: Debezium's JDBC sink on Kafka Connect, one standalone worker with one task.

Set up as its documentation advises for speed: batches of the size of a poll, the reduction buffer,
and a driver that turns a batch into one statement (`reWriteBatchedInserts`). It reads Avro through
Apicurio's converter, into a table like ours.
"""

import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from runtime.settings import Settings
from schemas.errors import CheckFailed, Misconfigured
from scripts.bench.peer_fetch import ConnectFiles, fetch_connect
from scripts.bench.rate import filling_rate
from scripts.bench.user_table import UserTable
from scripts.stack.fetch import last_lines
from scripts.stack.jdk import choose_jdk
from scripts.stack.places import HOST, free_port

NAME: Final = "Debezium JDBC sink 3.6.0 on Kafka Connect 4.2.1"
GUARANTEE: Final = (
    "at least once; upsert by key without versions: an older record that is replayed overwrites a "
    "newer one; no summary; offsets apart from the data"
)
_BATCH_ROWS: Final = 5000
_CCOMPAT: Final = "/apis/ccompat/v7"
_LOG4J: Final = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


def debezium_rows_per_second(settings: Settings, topic: str, table: UserTable, count: int) -> float:
    """Have the sink write the `count` records of `topic` into the empty `table`; return its rate.

    Raises `Misconfigured` or `Unavailable` if it cannot be fetched or run here, `CheckFailed` if it
    fails.
    """
    if settings.kafka_security_protocol.lower() != "plaintext":
        raise Misconfigured("Kafka Connect is run on a broker without security only")
    files = fetch_connect()
    with _running(settings, files, topic, table) as alive:
        return filling_rate(table.count, count, alive)


@contextmanager
def _running(
    settings: Settings, files: ConnectFiles, topic: str, table: UserTable
) -> Iterator[Callable[[], bool]]:
    """Run the worker; gives a function that says whether it still runs."""
    java = choose_jdk(None).home / "bin" / "java"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        worker = _worker_options(settings, files, folder)
        arguments = [
            _write(folder / "worker.properties", worker),
            _write(folder / "sink.properties", _sink_options(settings, topic, table)),
        ]
        (folder / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")
        # The heap that Kafka's own script gives a worker.
        options = ["-Xms256M", "-Xmx2G", f"-Dlog4j2.configurationFile={folder}/log4j2.properties"]
        main = ["-cp", f"{files.programs}/*", "org.apache.kafka.connect.cli.ConnectStandalone"]
        log = folder / "connect.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [java, *options, *main, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

        def alive() -> bool:
            return process.poll() is None

        try:
            yield alive
        except CheckFailed as failed:
            raise CheckFailed(f"{failed}; its log:\n{last_lines(log, 5)}") from failed
        finally:
            process.terminate()
            process.wait()


def _worker_options(settings: Settings, files: ConnectFiles, folder: Path) -> dict[str, object]:
    if not settings.registry_url.endswith(_CCOMPAT):
        raise Misconfigured("its converter reads the schemas of an Apicurio registry only")
    registry = settings.registry_url.removesuffix(_CCOMPAT) + "/apis/registry/v2"
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "io.apicurio.registry.utils.converter.AvroConverter",
        "value.converter.apicurio.registry.url": registry,
        "value.converter.apicurio.registry.as-confluent": "true",
        "value.converter.apicurio.registry.use-id": "contentId",
        "offset.storage.file.filename": folder / "offsets",
        "plugin.path": files.plugins,
        "listeners": f"http://{HOST}:{free_port(set())}",
        "consumer.auto.offset.reset": "earliest",
        # A sink is given what one poll returns: 500 records unless told otherwise.
        "consumer.max.poll.records": _BATCH_ROWS,
    }


def _sink_options(settings: Settings, topic: str, table: UserTable) -> dict[str, object]:
    address = {name: str(value) for name, value in conninfo_to_dict(settings.postgres_url).items()}
    place = f"{address.get('host', 'localhost')}:{address.get('port', '5432')}"
    return {
        # The name of its group as well: a name that was used before has offsets.
        "name": f"{topic}-{secrets.token_hex(4)}",
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": 1,
        "topics": topic,
        # The ids are text on the log; `unspecified` leaves their conversion to PostgreSQL.
        "connection.url": (
            f"jdbc:postgresql://{place}/{address.get('dbname', '')}"
            "?stringtype=unspecified&reWriteBatchedInserts=true"
        ),
        "connection.username": address.get("user", ""),
        "connection.password": settings.postgres_password or address.get("password", ""),
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "user_id",
        "collection.name.format": f"{table.schema}.{table.name}",
        "schema.evolution": "none",
        "batch.size": _BATCH_ROWS,
        "use.reduction.buffer": "true",
    }


def _write(path: Path, options: Mapping[str, object]) -> Path:
    """Write a file of properties that only we can read: one holds a password."""
    lines = (
        f"{name}={str(value).replace(chr(92), chr(92) * 2)}\n" for name, value in options.items()
    )
    path.touch(0o600)
    path.write_text("".join(lines), encoding="utf-8")
    return path
