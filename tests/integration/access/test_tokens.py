"""Brokers that demand an OAuth token or a client certificate."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from runtime.kafka.clients import admin, kafka_available
from runtime.settings import Settings
from schemas.errors import Forbidden, RollbookError
from scripts.stack.native.local import LocalStack
from tests.depth import DEEP
from tests.integration.access.servers.token_broker import (
    CLIENT,
    SECRET,
    TokenBroker,
    TokenServer,
    chain_pem,
    key_pem,
    token_broker,
    token_server,
)
from tests.started.processes import Rollbook, eventually

pytestmark = pytest.mark.skipif(not DEEP, reason="starts a broker; `make test-deep` runs it")
PASSWORD = "of the key"


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    """The server that issues tokens."""
    with token_server() as server:
        yield server


@pytest.fixture(scope="module")
def broker(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenBroker]:
    """The broker that accepts its tokens, and certificates."""
    with token_broker(tokens, tmp_path_factory.mktemp("broker")) as broker:
        eventually(lambda: answers(mutual(broker)), 120, "the broker")
        yield broker


def answers(settings: dict[str, Any]) -> bool:
    """Return whether brokers answer a client with these settings."""
    try:
        client = admin(Settings(**settings))
        return bool(client.describe_cluster(request_timeout=5).result().controller)
    except (RollbookError, KafkaException):
        return False


def mutual(broker: TokenBroker, **changes: str) -> dict[str, Any]:
    """Return the settings for a login with a certificate, whose key has a password."""
    folder = broker.ca_file.parent
    certificate, key = folder / "app.pem", folder / "app.key"
    if not key.exists():
        issued = broker.authority.issue_cert("app", common_name="app")
        certificate.write_bytes(chain_pem(issued))
        key.write_bytes(key_pem(issued, PASSWORD))
    return {
        "kafka_bootstrap_servers": broker.with_certificate,
        "kafka_security_protocol": "ssl",
        "kafka_ssl_ca_location": str(broker.ca_file),
        "kafka_ssl_certificate_location": str(certificate),
        "kafka_ssl_key_location": str(key),
        "kafka_ssl_key_password": PASSWORD,
        **changes,
    }


def with_token(broker: TokenBroker, tokens: TokenServer, **changes: str) -> dict[str, Any]:
    """Return the settings for a login with a token."""
    return {
        "kafka_bootstrap_servers": broker.with_token,
        "kafka_security_protocol": "sasl_ssl",
        "kafka_ssl_ca_location": str(broker.ca_file),
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_oauth_token_url": tokens.url,
        "kafka_oauth_client_id": CLIENT,
        "kafka_oauth_client_secret": SECRET,
        "kafka_oauth_scope": "kafka",
        "kafka_options": "socket.keepalive.enable=true,client.rack=a",
        **changes,
    }


@pytest.fixture(params=["token", "certificate"])
def rollbook(
    request: pytest.FixtureRequest,
    broker: TokenBroker,
    tokens: TokenServer,
    own: tuple[Settings, Path, Path],
) -> Iterator[Rollbook]:
    """`rollbook` with a login of each kind at the broker."""
    settings, config, folder = own
    given = with_token(broker, tokens) if request.param == "token" else mutual(broker)
    overrides = {f"ROLLBOOK_{name.upper()}": value for name, value in given.items()}
    rollbook = Rollbook(replace(settings, **given), config, folder, overrides)
    try:
        yield rollbook
    finally:
        rollbook.stop_all()
        sys.stdout.write(rollbook.last_output())


@pytest.fixture
def own(empty: Settings, stack: LocalStack, tmp_path: Path) -> tuple[Settings, Path, Path]:
    """The settings, the configuration of the other servers, and a folder of a test."""
    return empty, stack.config_file, tmp_path


def test_everything_works_with_this_login(rollbook: Rollbook, tokens: TokenServer) -> None:
    """For longer than a token is valid: each client gets the next one in time."""
    assert rollbook.run("topics", "ensure").returncode == 0
    handler, projector = rollbook.start_handler(), rollbook.start_projector("postgres")
    for name in ("jane", "june"):
        user = ("--email", f"{name}@example.com", "--name", name, "--age", "33")
        created = rollbook.json("users", "create", *user, "--wait", "postgres")
        assert created["status"] == "accepted"
        if rollbook.settings.kafka_oauth_token_url:
            # The two processes replace the token of each of their clients.
            eventually(partial(tokens.has_issued, len(tokens.requests) + 12), 120, "new tokens")
    assert "denies access" not in handler.text() + projector.text()
    assert (handler.stop(), projector.stop()) == (0, 0)
    assert all(body.endswith("scope=kafka") for body, _ in tokens.requests)


def test_a_wrong_secret_is_refused_by_name(broker: TokenBroker, tokens: TokenServer) -> None:
    settings = Settings(**with_token(broker, tokens, kafka_oauth_client_secret="s3cret"))
    with pytest.raises(Forbidden) as refused:
        admin(settings)
    assert refused.value.code == "kafka_forbidden"
    assert "kafka_oauth_client_secret" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_missing_certificate_is_said_to_be_missing(broker: TokenBroker) -> None:
    without = {name: "" for name in mutual(broker) if "certificate" in name or "key" in name}
    settings = Settings(**mutual(broker, **without))
    with pytest.raises(RollbookError) as refused, kafka_available(settings):
        admin(settings).list_topics(timeout=5)
    assert refused.value.code == "tls_refused"
