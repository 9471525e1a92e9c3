"""The secure stack: nobody connects without TLS and a login, and no secret lies open."""

import stat
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from runtime.kafka.clients import admin
from runtime.settings import Settings, load_settings
from runtime.topics.admin import ensure_topics
from schemas.errors import Forbidden, Misconfigured
from scripts.stack.native.local import LocalStack
from scripts.stack.native.programs import MARK
from scripts.stack.secure.roles import grant_roles, revoke_roles
from tests.conftest import SECURE_SERVERS
from tests.started.processes import eventually


def of(file: Path) -> Settings:
    """Return the settings of a role."""
    return load_settings(config=str(file)).settings


def logs_in(settings: Settings) -> bool:
    """Return whether PostgreSQL accepts the login."""
    try:
        psycopg.connect(settings.postgres_url, password=settings.postgres_password).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True


def test_a_plain_stack_cannot_become_a_secure_one(stack: LocalStack) -> None:
    """Its data would belong to logins that the secure one does not have."""
    with pytest.raises(Misconfigured, match="was started without --secure") as refused:
        stack.up(secure=True)
    assert "down --wipe" in refused.value.next_step
    assert {server.state for server in stack.servers().values()} == {"running"}


def test_a_second_up_changes_nothing(secure_stack: LocalStack) -> None:
    """It stays secure without the option, with the same processes and passwords."""
    before = secure_stack.servers()
    texts = {path: path.read_text() for path in secure_stack.directory.glob("*.password")}
    assert secure_stack.up(servers=SECURE_SERVERS).was_running
    assert {n: s.pid for n, s in secure_stack.servers().items()} == {
        n: s.pid for n, s in before.items()
    }
    assert {path: path.read_text() for path in texts} == texts
    assert of(secure_stack.config_file).kafka_security_protocol == "sasl_ssl"


def test_nobody_connects_without_tls(secure_stack: LocalStack) -> None:
    settings = of(secure_stack.config_file)
    plain = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0})
    with pytest.raises(KafkaException):
        plain.list_topics(timeout=2)
    url = settings.postgres_url.replace("sslmode=verify-full", "sslmode=disable")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(url, password=settings.postgres_password)


def test_roles_are_created_and_deleted_for_a_prefix(
    secure_stack: LocalStack, role_files: dict[str, Path]
) -> None:
    """Creating them again changes no password. Deleted ones are refused at once."""
    operator, client = (of(role_files[role]) for role in ("operator", "client"))
    again = grant_roles(secure_stack.directory, operator, servers=SECURE_SERVERS)
    assert again == role_files
    assert of(again["client"]).kafka_sasl_password == client.kafka_sasl_password
    assert admin(client).list_topics(timeout=10).brokers
    assert logs_in(operator)
    revoke_roles(secure_stack.directory, operator, servers=SECURE_SERVERS)
    eventually(lambda: not logs_in(operator), what="PostgreSQL refuses it")
    with pytest.raises(Forbidden, match="SASL authentication error"):
        admin(client)
    assert not role_files["operator"].exists()


def test_no_secret_lies_open(secure_stack: LocalStack) -> None:
    """Not on a command line, in a log or in what describes the stack; only in private files."""
    directory = secure_stack.directory
    secrets = [path.read_text().strip() for path in directory.rglob("*.password")]
    assert len(secrets) > 8
    processes = [
        process
        for process in psutil.process_iter(["environ", "cmdline"])
        if (process.info["environ"] or {}).get(MARK) == str(directory)
    ]
    assert len(processes) >= len(SECURE_SERVERS)
    said = [" ".join(process.info["cmdline"]) for process in processes]
    said += [" ".join(process.info["environ"].values()) for process in processes]
    described = [*directory.rglob("*.toml"), *directory.glob("*.json"), *directory.glob("*.conf")]
    said += [path.read_text() for path in described]
    said += [path.read_text(errors="replace") for path in directory.glob("logs/*.log")]
    assert not [text[:80] for text in said for secret in secrets if secret in text]
    private = [*directory.rglob("*.password"), *directory.rglob("*.toml")]
    private += directory.glob("logs/kafka-format.log")
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_the_roles_are_in_force_once_they_are_created(role_files: dict[str, Path]) -> None:
    with pytest.raises(Forbidden, match=r"is missing: Create"):
        ensure_topics(of(role_files["handler"]))
    assert ensure_topics(of(role_files["operator"]))
