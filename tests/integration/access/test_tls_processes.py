"""Commands and processes that meet a bad certificate: they say so, and continue once it is good."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runtime.settings import Settings
from tests.depth import DEEP
from tests.faults.broker_proxy import BrokerProxy
from tests.integration.access.servers.tls_relay import (
    Certificates,
    Fault,
    TlsRelay,
    issue_certificates,
)
from tests.observed.log import assert_exactly_once, decided, send_creates
from tests.observed.metrics import Endpoint, start_measured
from tests.started.processes import Rollbook, RunningProcess, eventually

# The longest pause between two attempts, and what a busy machine adds.
SECONDS = 100
CREATE = ("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "33")
SERVE = ("--listen", "127.0.0.1:0")
# Server → a command that needs it, and each process that does.
COMMANDS = {
    "kafka": CREATE,
    "registry": CREATE,
    "postgres": ("users", "list"),
    "elasticsearch": ("users", "search", "jane"),
}
PROCESSES: dict[str, dict[str, tuple[str, ...]]] = {
    "kafka": {
        "handler": ("handler", "run", "--instance", "a"),
        "projector": ("projector", "run", "postgres"),
        "commands": ("serve", "commands", *SERVE),
    },
    "registry": {
        "handler": ("handler", "run", "--instance", "a"),
        "projector": ("projector", "run", "postgres"),
        "commands": ("serve", "commands", *SERVE),
    },
    "postgres": {"projector": ("projector", "run", "postgres")},
    "elasticsearch": {"projector": ("projector", "run", "elasticsearch")},
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of an authority that the processes trust."""
    return issue_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def relays(
    settings: Settings, rollbook: Rollbook, certificates: Certificates
) -> Iterator[Callable[[str], TlsRelay]]:
    """A function that puts a relay with a good certificate between `rollbook` and a server."""
    with ExitStack() as opened:

        def relay(server: str) -> TlsRelay:
            address = _address_of(settings, server)
            if server == "kafka":
                proxy = opened.enter_context(BrokerProxy(address))
                address = proxy.address
            found = TlsRelay(address, certificates.good, is_postgres=server == "postgres")
            opened.enter_context(found)
            opened.callback(rollbook.stop_all)
            if server == "kafka":
                proxy.advertise(found.address)
            rollbook.overrides |= _with_tls(server, found.address, certificates.ca_file)
            return found

        yield relay


def _address_of(settings: Settings, server: str) -> str:
    if server == "kafka":
        return settings.kafka_bootstrap_servers
    url: str = getattr(settings, f"{server}_url")
    return urlsplit(url).netloc.rpartition("@")[2]


def _with_tls(server: str, address: str, ca_file: Path) -> dict[str, str]:
    options = {
        "kafka": {
            "KAFKA_BOOTSTRAP_SERVERS": address,
            "KAFKA_SECURITY_PROTOCOL": "ssl",
            "KAFKA_SSL_CA_LOCATION": str(ca_file),
        },
        "registry": {
            "REGISTRY_URL": f"https://{address}/apis/ccompat/v7",
            "REGISTRY_CA_LOCATION": str(ca_file),
        },
        "postgres": {
            "POSTGRES_URL": f"postgresql://rollbook@{address}/rollbook"
            f"?sslmode=verify-full&sslrootcert={ca_file}"
        },
        "elasticsearch": {
            "ELASTICSEARCH_URL": f"https://{address}",
            "ELASTICSEARCH_CA_LOCATION": str(ca_file),
        },
    }
    return {f"ROLLBOOK_{name}": value for name, value in options[server].items()}


@pytest.mark.parametrize(
    ("server", "fault"),
    [(server, fault) for server in COMMANDS for fault in Fault]
    if DEEP
    else [("kafka", Fault.UNTRUSTED), ("postgres", Fault.EXPIRED)],
)
def test_a_command_ends_with_exit_code_2(
    server: str,
    fault: Fault,
    relays: Callable[[str], TlsRelay],
    rollbook: Rollbook,
    certificates: Certificates,
) -> None:
    """As a wrong password does; a command that sends says that nothing was sent."""
    relays(server).presents = certificates.bad[fault]
    error = rollbook.json(*COMMANDS[server], code=2)["error"]
    assert error["code"] == fault
    if server == "kafka":
        assert "nothing was sent" in error["message"]


def _shown(rollbook: Rollbook, server: str) -> int:
    command = ("search", "Jane") if server == "elasticsearch" else ("list",)
    return len(rollbook.run("users", *command, "--all", "--json").stdout.splitlines())


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
@pytest.mark.parametrize(
    ("server", "fault"), [*zip(PROCESSES, [*Fault, Fault.EXPIRED], strict=True)]
)
def test_processes_wait_until_the_certificate_is_good(
    server: str,
    fault: Fault,
    relays: Callable[[str], TlsRelay],
    rollbook: Rollbook,
    certificates: Certificates,
) -> None:
    """At their start and while they run: not ready, a retry every 30 s, no restart."""
    settings, kinds = rollbook.settings, PROCESSES[server]
    if "handler" not in kinds:
        rollbook.start_handler()
    relay = relays(server)
    send_creates(settings, "a", 20)
    relay.presents = certificates.bad[fault]
    running = {kind: start_measured(rollbook, *command) for kind, command in kinds.items()}
    _refused(running, fault, "at the start")
    relay.presents = certificates.good
    _works_again(running, partial(_shown, rollbook, server), 20, "at the start")
    if server != "registry":  # all schemas are known by now
        relay.presents = certificates.bad[fault]
        relay.cut()
        send_creates(settings, "b", 20)
        _refused(running, fault, "while running")
        relay.presents = certificates.good
        _works_again(running, partial(_shown, rollbook, server), 40, "while running")
    assert_exactly_once(settings, decided(settings))
    assert rollbook.ndjson("dead-letters", "list") == []
    for process, _ in running.values():
        assert process.stop() == 0


def _refused(running: dict[str, tuple[RunningProcess, Endpoint]], fault: Fault, when: str) -> None:
    """Wait until each process says what is wrong, and is not ready for that reason."""
    began = time.monotonic()
    for kind, (process, endpoint) in running.items():
        eventually(partial(_lacks, endpoint, fault), what=f"{kind} is not ready")
        _print(f"{kind}: not ready {when} after", began)
        process.wait_for("certificate of")


def _works_again(
    running: dict[str, tuple[RunningProcess, Endpoint]],
    shown: Callable[[], int],
    count: int,
    when: str,
) -> None:
    """Wait until each process is ready and has done its work."""
    began = time.monotonic()
    for kind, (_, endpoint) in running.items():
        eventually(partial(_is_ready, endpoint), SECONDS, f"{kind} is ready")
        _print(f"{kind}: ready {when} after", began)
    eventually(lambda: shown() == count, SECONDS, "all users are shown")
    _print(f"all users shown {when} after", began)


def _lacks(endpoint: Endpoint, fault: Fault) -> bool:
    return fault in endpoint.lacks()


def _is_ready(endpoint: Endpoint) -> bool:
    return not endpoint.lacks()


def _print(what: str, began: float) -> None:
    sys.stdout.write(f"{what} {time.monotonic() - began:.1f} s\n")
