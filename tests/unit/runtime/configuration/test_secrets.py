"""A secret that comes from a file is the one that the file has now."""

import logging
from pathlib import Path

import pytest

from runtime.kafka import client_classes
from runtime.kafka.client_classes import AdminClient, Consumer, Producer
from runtime.kafka.clients import client_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings, load_settings
from tests.started.processes import eventually


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of every password."""
    file = tmp_path / "secret"
    file.write_text("old\n")
    for server in ("KAFKA_SASL", "REGISTRY", "POSTGRES", "ELASTICSEARCH"):
        monkeypatch.setenv(f"ROLLBOOK_{server}_PASSWORD_FILE", str(file))
        if server != "POSTGRES":
            monkeypatch.setenv(f"ROLLBOOK_{server}_USERNAME", "app")
    return file


def settings(**flags: str) -> Settings:
    return load_settings(flags).settings


def test_a_secret_follows_its_file(secret: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the file is missing or empty, it stays what it was, which is logged once."""
    loaded = settings()
    assert loaded.secret("postgres_password") == "old"
    secret.write_text("new\n")
    assert loaded.secret("postgres_password") == "new"
    secret.write_text("")
    assert loaded.secret("postgres_password") == "new"
    with caplog.at_level(logging.WARNING):
        secret.unlink()
        for _ in range(3):
            assert loaded.secret("postgres_password") == "new"
    assert caplog.text.count("cannot read the file for setting postgres_password") == 1
    assert not {"old", "new", str(secret)} & set(caplog.text.split())
    secret.write_text("newest")
    assert loaded.secret("postgres_password") == "newest"


def test_a_secret_without_a_file_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_POSTGRES_PASSWORD", "given")
    assert settings().secret("postgres_password") == "given"


def test_each_request_to_the_registry_has_the_present_login(secret: Path) -> None:
    registry = Registry(settings())
    before = registry._headers()["Authorization"]
    secret.write_text("new")
    assert registry._headers()["Authorization"] != before


@pytest.mark.parametrize("kind", [Producer, Consumer, AdminClient])
def test_kafka_clients_get_the_new_password(
    kind: type[Producer | Consumer | AdminClient], secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are polled: a call of a consumer excludes all others."""
    monkeypatch.setattr(client_classes, "_EVERY_SECONDS", 0.01)
    given: list[tuple[str, str]] = []

    class Recording(kind):  # type: ignore[misc, valid-type]
        def set_sasl_credentials(self, username: str, password: str) -> None:
            super().set_sasl_credentials(username, password)
            given.append((username, password))

    config = client_config(
        settings(
            kafka_security_protocol="sasl_plaintext",
            kafka_sasl_mechanism="PLAIN",
            kafka_bootstrap_servers="127.0.0.1:1",
        )
    )

    def rotate() -> None:
        client = Recording(config | ({"group.id": "g"} if kind is Consumer else {}))
        secret.write_text("new")
        eventually(lambda: client.poll(0.05) or given == [("app", "new")])

    rotate()
    eventually(lambda: not client_classes._PASSWORDS._is_running, what="the thread ends")
