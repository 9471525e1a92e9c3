"""Commands that a broker denies a login or a permission: they end and name what is missing."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from runtime.kafka.clients import admin, lone_consumer
from runtime.settings import Settings
from runtime.topics.log_ranges import log_ranges
from schemas.errors import Forbidden
from schemas.topics import COMMANDS
from tests.integration.access.servers.secured_broker import SecuredBroker
from tests.observed.log import decided, send_creates
from tests.samples.people import people_csv
from tests.started.processes import Rollbook, eventually

CREATE = ("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "33")
IMPORT = ("users", "import", "people.csv")


def refused(rollbook: Rollbook, *commands: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Run commands at the same time; yield the name and the message of each refusal."""
    file = rollbook.directory / "people.csv"
    file.write_text(people_csv(10), encoding="utf-8")
    with ThreadPoolExecutor(5) as together:
        runs = [together.submit(rollbook.run, *command, "--json") for command in commands]
        for command, run in zip(commands, runs, strict=True):
            done, name = run.result(), " ".join(command[:2])
            assert done.returncode == 2, (name, done.stdout, done.stderr)
            error = json.loads(done.stderr.splitlines()[-1])["error"]
            assert error["code"] == "kafka_forbidden", (name, error)
            yield name, error["message"]


def sent(settings: Settings) -> int:
    """Return how many offsets the topic of commands has."""
    ranges = log_ranges(settings, COMMANDS, range(settings.partitions))
    return sum(one.end for one in ranges.values())


def test_a_wrong_password_ends_every_command(guarded: Rollbook, broker: SecuredBroker) -> None:
    """None of them names a permission on a topic instead."""
    guarded.overrides |= broker.login("wrong")
    messages = refused(
        guarded,
        CREATE,
        IMPORT,
        ("events", "tail", "--no-follow"),
        ("projector", "status"),
        ("topics", "ensure"),
        ("projector", "rebuild", "postgres"),
    )
    for name, message in messages:
        assert "SASL authentication error" in message, name
        assert "what is missing: a login" in message, name


def test_a_refused_login_is_noticed_at_once(guarded: Rollbook, broker: SecuredBroker) -> None:
    """Not when the requests have timed out, which takes 5 to 10 s."""
    settings = broker.as_user(guarded.settings, "wrong")
    began = time.monotonic()
    for connect in (admin, lone_consumer):
        with pytest.raises(Forbidden, match="a login that the brokers accept"):
            connect(settings)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("topic", "operation"),
    [
        ("user-commands", AclOperation.WRITE),
        ("user-commands", AclOperation.DESCRIBE),
        ("user-outcomes", AclOperation.READ),
    ],
)
def test_a_denied_command_was_certainly_not_sent(
    topic: str, operation: AclOperation, guarded: Rollbook, broker: SecuredBroker
) -> None:
    """Also an import, and also if only the answer may not be read."""
    name = guarded.settings.named(topic)
    with broker.denied(ResourceType.TOPIC, name, operation):
        for command, message in refused(guarded, CREATE, IMPORT):
            assert f"{operation.name.title()} on topic {name}" in message, command
            assert "nothing was sent" in message, command
    assert sent(guarded.settings) == 0


def test_commands_are_looked_up_without_permission_to_read_them(
    guarded: Rollbook, broker: SecuredBroker
) -> None:
    """Such a login does not learn whether a command without an answer was ever sent."""
    name = guarded.settings.named("user-commands")
    unanswered = guarded.json(*CREATE, "--command-id", "waits", "--timeout", "2", code=4)
    assert unanswered["error"]["code"] == "not_in_time"
    with broker.denied(ResourceType.TOPIC, name, AclOperation.READ):
        for command_id in ("waits", "never-sent"):
            error = guarded.json("commands", "show", command_id, code=4)["error"]
            assert error["code"] == "not_decided"


@pytest.mark.parametrize(
    ("kind", "name", "missing"),
    [
        (ResourceType.GROUP, "rollbook-rebuild-postgres", "Read on group"),
        (ResourceType.TOPIC, "user-events", "Read on topic"),
    ],
)
def test_a_denied_rebuild_ends(
    kind: ResourceType, name: str, missing: str, guarded: Rollbook, broker: SecuredBroker
) -> None:
    """It neither waits for the permission nor blames another rebuild."""
    guarded.start_projector("postgres").wait_for("assigned")
    guarded.start_handler()
    send_creates(guarded.settings, "a", 5)  # with nothing to read, nothing would be denied
    eventually(lambda: decided(guarded.settings) == 5)
    name = guarded.settings.named(name)
    with broker.denied(kind, name, AclOperation.READ):
        [(_, message)] = refused(guarded, ("projector", "rebuild", "postgres"))
    assert f"{missing} {name}" in message
