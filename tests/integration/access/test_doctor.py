"""The doctor says what a login may not do, for the roles that it is asked about."""

import json

from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from schemas.topics import EVENTS, HISTORY
from tests.integration.access.servers.secured_broker import SecuredBroker
from tests.started.processes import Rollbook, eventually


def found(rollbook: Rollbook, *arguments: str) -> dict[str, list[tuple[str, str]]]:
    """Return check → result and message of its findings; nothing runs in this registry.

    A new broker must create the topic of its groups before it answers about them.
    """

    def run() -> str:
        done = rollbook.run("doctor", *arguments, "--json")
        assert done.returncode in {1, 5}, done.stderr
        return done.stdout if done.returncode == 1 else ""

    checks: dict[str, list[tuple[str, str]]] = {}
    for line in eventually(run, 120, what="every server answers").splitlines():
        one = json.loads(line)
        checks.setdefault(one["check"], []).append((one["result"], one["message"]))
    return checks


def test_what_a_login_lacks_is_found(guarded: Rollbook, broker: SecuredBroker) -> None:
    """A problem only for a role that it must suffice for. Nothing else is checked less."""
    events, history = (guarded.settings.named(topic.name) for topic in (EVENTS, HISTORY))
    with broker.denied(ResourceType.TOPIC, events, AclOperation.WRITE):
        checks = found(guarded, "--role", "projector-postgres", "--role", "handler")
        lacking = f"the login does not suffice for handler: Write on topic {events}"
        assert ("problem", lacking) in checks["permissions"]
        assert ("ok", "the login suffices for projector-postgres") in checks["permissions"]
        assert [result for result, _ in checks["kafka-release"]] == ["ok"]
        assert [result for result, _ in checks["kafka-clock"]] == ["ok"]
        assert {result for result, _ in found(guarded)["permissions"]} == {"ok"}
    with broker.denied(ResourceType.TOPIC, history, AclOperation.DESCRIBE):
        checks = found(guarded, "--role", "projector-history")
        assert checks["topics"][0][0] == "not checked"
        assert any(history in text for _, text in checks["permissions"])
