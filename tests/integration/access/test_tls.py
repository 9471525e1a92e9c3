"""A certificate that must not be trusted, or TLS on one side alone: each server, each fault."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.postgres.store.database import Database
from runtime.kafka.clients import admin, kafka_available, lone_consumer
from runtime.kafka.registry import Registry
from runtime.settings import Settings, load_settings
from schemas.coding.codec import schema_text
from schemas.errors import TlsFailed
from schemas.topics import EVENTS
from scripts.stack.native.local import LocalStack
from tests.integration.access.servers.tls_relay import (
    Certificates,
    Fault,
    TlsRelay,
    issue_certificates,
)

# A process retries every 30 s, so it must not wait long for the answer either.
MOST_SECONDS = 5


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of an authority that the clients trust."""
    return issue_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def plain(stack: LocalStack) -> Settings:
    """The settings of the stack, which uses no TLS."""
    return load_settings({}, config=str(stack.config_file)).settings


def address_of(settings: Settings, server: str) -> str:
    """Return host and port of a server."""
    if server == "kafka":
        return settings.kafka_bootstrap_servers
    parts = urlsplit(getattr(settings, f"{server}_url"))
    return f"{parts.hostname}:{parts.port}"


def at(plain: Settings, server: str, address: str, ca_file: str, *, tls: bool) -> Settings:
    """Return settings that reach a server at another address, with TLS or without."""
    changed: dict[str, dict[str, Any]] = {
        "kafka": {
            "kafka_bootstrap_servers": address,
            "kafka_security_protocol": "ssl" if tls else "plaintext",
            "kafka_ssl_ca_location": ca_file if tls else "",
        },
        "registry": {
            "registry_url": f"http{'s' * tls}://{address}/apis/ccompat/v7",
            "registry_ca_location": ca_file if tls else "",
        },
        "postgres": {
            "postgres_url": f"postgresql://rollbook@{address}/rollbook"
            + (f"?sslmode=verify-full&sslrootcert={ca_file}" if tls else "?sslmode=disable")
        },
        "elasticsearch": {
            "elasticsearch_url": f"http{'s' * tls}://{address}",
            "elasticsearch_ca_location": ca_file if tls else "",
        },
    }
    return replace(plain, **changed[server])


def ask_kafka(settings: Settings) -> None:
    with kafka_available(settings):
        consumer = lone_consumer(settings)
        try:
            consumer.list_topics(timeout=1)
        finally:
            consumer.close()


def ask_kafka_admin(settings: Settings) -> None:
    with kafka_available(settings):
        admin(settings).list_topics(timeout=1)


def ask_registry(settings: Settings) -> None:
    Registry(settings).find(schema_text(EVENTS.schema))


def ask_postgres(settings: Settings) -> None:
    with closing(Database(settings)) as database, database.session():
        pass


def ask_elasticsearch(settings: Settings) -> None:
    with elasticsearch_available(settings), connect(settings) as client:
        client.cat.indices()


CLIENTS: list[tuple[str, Callable[[Settings], None]]] = [
    ("kafka", ask_kafka),
    ("kafka", ask_kafka_admin),
    ("registry", ask_registry),
    ("postgres", ask_postgres),
    ("elasticsearch", ask_elasticsearch),
]


@contextmanager
def refused(code: str, server: str) -> Iterator[pytest.ExceptionInfo[TlsFailed]]:
    """Expect an error with this code, soon."""
    began = time.monotonic()
    with pytest.raises(TlsFailed) as raised:
        yield raised
    assert time.monotonic() - began < MOST_SECONDS
    assert (raised.value.code, raised.value.server) == (code, server)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize(("server", "ask"), CLIENTS)
def test_a_bad_certificate_is_refused_and_named(
    server: str,
    ask: Callable[[Settings], None],
    fault: Fault,
    plain: Settings,
    certificates: Certificates,
) -> None:
    """Not called an outage; the message has the address and the setting that helps."""
    address, is_postgres = address_of(plain, server), server == "postgres"
    with TlsRelay(address, certificates.bad[fault], is_postgres=is_postgres) as relay:
        settings = at(plain, server, relay.address, str(certificates.ca_file), tls=True)
        with refused(fault, server) as raised:
            ask(settings)
        assert relay.address in str(raised.value)
        assert f"{server}_" in raised.value.next_step + str(raised.value) or fault == Fault.EXPIRED
        if server != "kafka":
            relay.presents = certificates.good
            ask(settings)


@pytest.mark.parametrize(("server", "ask"), CLIENTS)
def test_a_server_without_tls_gets_nothing_in_plain_text(
    server: str, ask: Callable[[Settings], None], plain: Settings, certificates: Certificates
) -> None:
    address = address_of(plain, server)
    with refused("tls_missing", server):
        ask(at(plain, server, address, str(certificates.ca_file), tls=True))


@pytest.mark.parametrize(
    ("server", "ask"), [client for client in CLIENTS if client[0] != "postgres"]
)
def test_a_server_that_demands_tls_is_no_outage(
    server: str, ask: Callable[[Settings], None], plain: Settings, certificates: Certificates
) -> None:
    """PostgreSQL says so itself, in words that a unit test has."""
    relay = TlsRelay(address_of(plain, server), certificates.good)
    with relay, refused("tls_required", server):
        ask(at(plain, server, relay.address, "", tls=False))
