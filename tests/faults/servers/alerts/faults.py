"""What is broken, how, and which alerts it must fire; leaving the `with` block repairs it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx2

from schemas.topics import EMAILS, EVENTS, HISTORY, HOPS, OUTCOMES
from tests.faults.servers.alerts.breakable import System
from tests.faults.servers.alerts.unreadable import unreadable_records
from tests.integration.projectors.dead_letters.letter_desk import ACCEPT, REFUSE, run_sql
from tests.observed.log import alter_topics
from tests.samples.certificates import certificate_pem
from tests.started.processes import eventually

DISK_BYTES: Final = 64 * 2**20
_PART_BYTES: Final = 2 * 2**20
WRITTEN: Final = (EVENTS, HISTORY, OUTCOMES, EMAILS, HOPS)

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Fault:
    """One fault: what was done, in words, and the alerts that it must fire."""

    what: str
    cause: Callable[[System], AbstractContextManager[None]]
    fires: Mapping[str, Labels]


@contextmanager
def no_handler(system: System) -> Iterator[None]:
    system.stop("handler")
    yield
    system.start("handler")


@contextmanager
def refused_records(system: System) -> Iterator[None]:
    """Kafka refuses what the handler writes, and nothing else.

    The marker of a transaction, which the broker writes, has 78 bytes; a record that closes a
    segment has 80. With one broker, `min.insync.replicas` refuses nothing: Kafka lowers it to the
    number of replicas.
    """
    alter_topics(system.settings, WRITTEN, max_message_bytes="79")
    yield
    alter_topics(system.settings, WRITTEN, max_message_bytes=str(2**20))


@contextmanager
def unclosed_segments(system: System) -> Iterator[None]:
    """Kafka refuses the records that close segments; no command is decided meanwhile."""
    system.is_idle.set()
    with refused_records(system):
        yield
    system.is_idle.clear()


@contextmanager
def stuttering(system: System, server: str, frozen: float, awake: float) -> Iterator[None]:
    """Freeze and thaw a server in turn, as a disk does that is far too slow."""
    stop = threading.Event()

    def stutter() -> None:
        while not stop.is_set():
            system.servers.send(server, signal.SIGSTOP)
            time.sleep(frozen)  # the time that passes is the fault
            system.servers.send(server, signal.SIGCONT)
            stop.wait(awake)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def slow_kafka(system: System) -> Iterator[None]:
    with stuttering(system, "kafka", 7.0, 1.0):
        yield


@contextmanager
def slow_postgres(system: System) -> Iterator[None]:
    with stuttering(system, "postgres", 2.0, 0.3):
        yield


@contextmanager
def no_postgres(system: System) -> Iterator[None]:
    system.servers.crash("postgres")
    yield
    system.servers.bring_back("postgres")


@contextmanager
def refused_record(system: System) -> Iterator[None]:
    """PostgreSQL refuses one user; afterwards it accepts him, and his letter is retried."""
    run_sql(system.settings, 1, REFUSE)
    with httpx2.Client(trust_env=False) as http:
        system.create(http, "refused@example.com", age=41)
    yield
    run_sql(system.settings, 1, ACCEPT)
    done = system.rollbook.run("dead-letters", "retry", "--all")
    assert done.returncode == 0, done.stderr


@contextmanager
def frozen_service(system: System) -> Iterator[None]:
    system.processes["queries"].freeze()
    yield
    system.processes["queries"].thaw()


@contextmanager
def crashing(system: System) -> Iterator[None]:
    for _ in range(3):
        started = _start_time(system)
        system.processes["projector-history"].kill()
        system.start("projector-history")
        eventually(partial(_started_after, system, started), what="it is scraped")
    yield


def _started_after(system: System, seconds: float) -> bool:
    return _start_time(system) > seconds


def _start_time(system: System) -> float:
    found = system.prometheus.query('process_start_time_seconds{process="projector-history"}')
    return float(found[0]["value"][1]) if found else 0.0


@contextmanager
def old_certificate(system: System, days: int) -> Iterator[None]:
    system.certificate.write_bytes(certificate_pem(days=days))
    yield
    system.certificate.write_bytes(certificate_pem(days=90))


@contextmanager
def full_disk(system: System) -> Iterator[None]:
    """Fill a small file system, a little faster than it could be read about."""
    folder = system.rollbook.directory / "disk"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "rollbook", folder], check=True
    )
    try:
        file = folder / "grows"
        for _ in range(DISK_BYTES // _PART_BYTES - 2):
            with file.open("ab") as grows:
                grows.write(os.urandom(_PART_BYTES))
            time.sleep(1)  # the rate is the fault
        yield
        file.unlink()
        # Until it is unmounted, Prometheus sees that it is empty.
        eventually(lambda: not _is_full(system), what="space is free")
    finally:
        subprocess.run(["umount", folder], check=False)


def _is_full(system: System) -> bool:
    free = "node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.5"
    return any("disk" in one["metric"]["mountpoint"] for one in system.prometheus.query(free))


POSTGRES = {"read_model": "postgres"}
PROCESSES: Final = (
    Fault(
        "a certificate that expires in 10 days",
        lambda system: old_certificate(system, 10),
        {"RollbookCertificateExpiresSoon": {"certificate": "http_tls_certificate"}},
    ),
    Fault(
        "a certificate that expires tomorrow",
        lambda system: old_certificate(system, 1),
        {"RollbookCertificateExpires": {"certificate": "http_tls_certificate"}},
    ),
    Fault(
        "`queries` frozen",
        frozen_service,
        {
            "RollbookProcessDown": {"process": "queries"},
            "RollbookProcessMissing": {"process": "queries"},
        },
    ),
    Fault("the only handler stopped", no_handler, {"RollbookNoHandler": {}}),
)
STORES: Final = (
    Fault(
        "an event that PostgreSQL refuses",
        refused_record,
        {"RollbookDeadLetters": {"reader": "projector:postgres"}},
    ),
    Fault(
        "PostgreSQL killed",
        no_postgres,
        {
            "RollbookReadModelLagging": POSTGRES,
            "RollbookReadModelStale": POSTGRES,
            "RollbookProcessNotReady": {"process": "projector-postgres"},
            "RollbookServiceErrors": {"service": "queries"},
        },
    ),
    Fault(
        "PostgreSQL frozen for 2 of every 2.3 s",
        slow_postgres,
        {"RollbookServiceSlow": {"service": "queries"}},
    ),
)
KAFKA: Final = (
    Fault(
        "topics that refuse every record of the handler, while no command is sent",
        unclosed_segments,
        {"RollbookErasureOverdue": {}},
    ),
    Fault("Kafka frozen for 7 of every 8 s", slow_kafka, {"RollbookCommandsSlow": {}}),
    Fault(
        "topics that refuse every record of the handler",
        refused_records,
        {
            "RollbookHandlerStalled": {},
            "RollbookTransactionsAborted": {},
            "RollbookCommandsBacklog": {},
        },
    ),
)
REST: Final = (
    Fault(
        "unreadable records in two partitions, during a change of address between them",
        unreadable_records,
        {"RollbookPartitionHeldUp": {}, "RollbookAddressChangeStuck": {}},
    ),
    Fault(
        "a projector killed three times",
        crashing,
        {"RollbookProcessRestarts": {"process": "projector-history"}},
    ),
    Fault(
        "a disk of 64 MB that fills",
        full_disk,
        {"RollbookDiskFills": {}, "RollbookDiskNearlyFull": {}},
    ),
)
FAULTS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "processes": PROCESSES,
    "stores": STORES,
    "kafka": KAFKA,
    "log and disk": REST,
}
