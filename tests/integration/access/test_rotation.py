"""Secrets are replaced on the servers and in their files: whatever runs continues with them."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final, LiteralString

import pytest
from confluent_kafka import KafkaException

from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.postgres.store.database import Database
from runtime.kafka.clients import producer
from runtime.kafka.registry import Registry
from runtime.settings import Settings, load_settings
from schemas.coding.codec import schema_text
from schemas.errors import RollbookError
from schemas.topics import COMMANDS
from tests.depth import DEEP
from tests.integration.access.servers.refusing_proxy import (
    PASSWORD,
    USER,
    RefusingProxy,
    refusing_proxy,
)
from tests.integration.access.servers.secured_broker import SecuredBroker
from tests.integration.access.test_postgres import Role
from tests.observed.log import assert_exactly_once
from tests.started.processes import Rollbook, eventually
from tests.started.services import Service

# Of a broker's demand for a login, of the pause after a refused one, and what a busy machine adds.
SECONDS = 100
LOGIN_AGAIN_SECONDS = 5
NEXT = "next"
SERVERS = ("KAFKA_SASL", "REGISTRY", "POSTGRES", "ELASTICSEARCH")
_ALTER: Final[dict[str, LiteralString]] = {
    PASSWORD: "ALTER ROLE {role} PASSWORD 'right'",
    NEXT: "ALTER ROLE {role} PASSWORD 'next'",
}


class Secrets:
    """The passwords of all four servers, each in a file that processes read."""

    def __init__(
        self, directory: Path, broker: SecuredBroker, role: Role, proxies: list[RefusingProxy]
    ) -> None:
        self._broker, self._role, self._proxies = broker, role, proxies
        self.files = {server: directory / server.lower() for server in SERVERS}
        self.write(PASSWORD)

    def change_on_servers(self, password: str) -> None:
        """Let the servers accept nothing but this password; end the sessions of PostgreSQL."""
        self._broker.set_password(password)
        self._role.execute(_ALTER[password])
        self._role.disconnect()
        for proxy in self._proxies:
            proxy.password = password

    def write(self, password: str) -> None:
        """Replace the files."""
        for file in self.files.values():
            new = file.with_suffix(".new")
            new.write_text(f"{password}\n")
            new.replace(file)


@pytest.fixture
def secrets(guarded: Rollbook, broker: SecuredBroker, tmp_path: Path) -> Iterator[Secrets]:
    """`guarded`, whose login at every server has its password in a file."""
    settings = guarded.settings
    with ExitStack() as stack:
        registry, path = settings.registry_url.split("/apis", 1)
        proxies = [
            stack.enter_context(refusing_proxy(server))
            for server in (registry, settings.elasticsearch_url)
        ]
        own = stack.enter_context(broker.other_user(settings.prefix))
        role = Role(settings)
        role.execute("CREATE ROLE {role} LOGIN PASSWORD 'right'")
        role.execute("GRANT CREATE ON DATABASE rollbook TO {role}")
        secrets = Secrets(tmp_path, own, role, proxies)
        url = settings.postgres_url.replace("rollbook@", f"{role.name}@")
        del guarded.overrides["ROLLBOOK_KAFKA_SASL_PASSWORD"]
        guarded.overrides |= {
            "ROLLBOOK_KAFKA_SASL_USERNAME": own.user,
            "ROLLBOOK_POSTGRES_URL": url,
            "ROLLBOOK_REGISTRY_URL": f"{proxies[0].url}/apis{path}",
            "ROLLBOOK_REGISTRY_USERNAME": USER,
            "ROLLBOOK_ELASTICSEARCH_URL": proxies[1].url,
            "ROLLBOOK_ELASTICSEARCH_USERNAME": USER,
        }
        for server, file in secrets.files.items():
            guarded.overrides[f"ROLLBOOK_{server}_PASSWORD_FILE"] = str(file)
        try:
            yield secrets
        finally:
            guarded.stop_all()
            role.execute("DROP OWNED BY {role} CASCADE", "DROP ROLE {role}")


def settings_of(rollbook: Rollbook, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of the processes of `rollbook`."""
    for name, value in rollbook.environment().items():
        if name.startswith("ROLLBOOK_"):
            monkeypatch.setenv(name, value)
    return load_settings().settings


def test_clients_log_in_with_the_new_password(
    secrets: Secrets, guarded: Rollbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same clients before and after; that they are refused in between does not stop them."""
    settings = settings_of(guarded, monkeypatch)
    registry, kafka = Registry(settings), producer(settings)
    with closing(Database(settings)) as database, closing(connect(settings)) as elasticsearch:

        def ask_postgres() -> None:
            with database.session() as session:
                session.execute("SELECT 1")

        def ask_elasticsearch() -> None:
            with elasticsearch_available(settings):
                elasticsearch.indices.exists(index="none")

        requests: dict[str, Callable[[], object]] = {
            "kafka": lambda: kafka.list_topics(timeout=1),
            "registry": lambda: registry.find(schema_text(COMMANDS.schema)),
            "postgres": ask_postgres,
            "elasticsearch": ask_elasticsearch,
        }
        assert [name for name in requests if not answers(requests[name])] == []
        secrets.change_on_servers(NEXT)
        for name, request in requests.items():
            eventually(partial(refuses, request), SECONDS, f"{name} refuses")
        secrets.write(NEXT)
        for name, request in requests.items():
            eventually(partial(answers, request), SECONDS, f"{name} accepts")


def answers(request: Callable[[], object]) -> bool:
    """Return whether a server answers a request."""
    try:
        request()
    except (RollbookError, KafkaException):
        return False
    return True


def refuses(request: Callable[[], object]) -> bool:
    """Return whether a server does not answer it."""
    return not answers(request)


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
@pytest.mark.parametrize("first", ["servers", "files"])
def test_processes_continue_with_the_new_passwords(
    first: str, secrets: Secrets, guarded: Rollbook
) -> None:
    """None ends or loses anything, whichever is changed first; files usually arrive later."""
    settings = guarded.settings
    processes = [guarded.start_handler()]
    processes += [guarded.start_projector(name) for name in ("postgres", "elasticsearch")]
    commands, queries = Service(guarded, "commands"), Service(guarded, "queries")
    processes += [commands.process, queries.process]
    with closing(commands.http), closing(queries.http):

        def create(number: int) -> bool:
            user = {"email": f"u{number}@example.com", "name": "Jane Doe", "age": 33}
            return commands.http.post("/users", json=user).status_code == 201

        def all_show(count: int) -> bool:
            listed = queries.http.get("/users", params={"limit": 100})
            found = queries.http.get("/search", params={"text": "Jane"})
            return all(
                one.status_code == 200 and len(one.json()["users"]) == count
                for one in (listed, found)
            )

        eventually(lambda: create(1), what="the first user")
        eventually(lambda: all_show(1), SECONDS, "the first user is shown")
        changes = (secrets.change_on_servers, secrets.write)
        for change in changes if first == "servers" else reversed(changes):
            change(NEXT)
        began = time.monotonic()
        eventually(lambda: create(2), SECONDS, "the second user")
        eventually(lambda: all_show(2), SECONDS, "the second user is shown")
        sys.stdout.write(f"{first} first: all work again after {time.monotonic() - began:.1f} s\n")
        # Whoever was refused meanwhile is no longer.
        eventually(lambda: create(3), SECONDS, "the third user")
        eventually(lambda: all_show(3), SECONDS, "the third user is shown")
    # Brokers demand the login every few seconds: nobody is refused for good.
    refused = [process.text().count("denies access") for process in processes]
    eventually(lambda: time.monotonic() > began + 3 * LOGIN_AGAIN_SECONDS)
    assert [process.text().count("denies access") for process in processes] == refused
    assert_exactly_once(settings, 3)
    assert guarded.ndjson("dead-letters", "list") == []
    for process in processes:
        assert process.returncode() is None
        assert process.stop() == 0
