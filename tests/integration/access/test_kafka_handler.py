"""A handler that a broker denies a permission, at its start and while it runs, then grants it."""

from typing import NamedTuple

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from tests.depth import DEEP
from tests.integration.access.servers.secured_broker import SecuredBroker
from tests.observed.log import assert_exactly_once, decided, send_creates
from tests.started.processes import Rollbook, eventually

pytestmark = pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")

TOPIC, GROUP, ID = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
# The longest pause between two attempts, and what a busy machine adds.
SECONDS = 100


class Denial(NamedTuple):
    """An operation on a resource that is denied, and what the handler must call missing."""

    kind: ResourceType
    name: str
    operation: AclOperation
    missing: str


@pytest.mark.parametrize(
    "denial",
    [
        Denial(TOPIC, "user-events", WRITE, "Write on topic"),
        Denial(TOPIC, "user-commands", READ, "Read on topic"),
        Denial(TOPIC, "user-hops", READ, "Read on topic"),
        Denial(TOPIC, "user-commands", DESCRIBE, "Describe on topic"),
        Denial(GROUP, "rollbook-handler", READ, "Read on group"),
        Denial(ID, "rollbook-handler-a", WRITE, "Write on transactional id"),
        Denial(ID, "rollbook-handler-a", DESCRIBE, "Write on transactional id"),
    ],
)
def test_it_says_what_is_missing_and_continues(
    denial: Denial, guarded: Rollbook, broker: SecuredBroker
) -> None:
    """Every command is decided once, whenever it was sent."""
    settings, (kind, name, operation, missing) = guarded.settings, denial
    name = settings.named(name)
    sentence = f"{missing} {name}"
    with broker.denied(kind, name, operation):
        send_creates(settings, "a", 20)
        handler = guarded.start_handler(wait=False)
        handler.wait_for(sentence)
        assert decided(settings) == 0
    eventually(lambda: decided(settings) == 20, SECONDS)
    if operation is not DESCRIBE:  # what is known already is not asked again
        times = handler.text().count(sentence)
        with broker.denied(kind, name, operation):
            send_creates(settings, "b", 20)
            if kind is not GROUP:  # a member of a group remains one until its next heartbeat
                handler.wait_for(sentence, times + 1)
        send_creates(settings, "c", 20)
        eventually(lambda: decided(settings) == 60, SECONDS)
        assert_exactly_once(settings, 60)
    assert handler.text().count("denies access") < 12
    assert handler.stop() == 0
