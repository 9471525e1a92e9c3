"""Running processes that a broker denies a login or a permission: they say so and wait for it."""

from contextlib import closing

import httpx2
import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from tests.depth import DEEP
from tests.integration.access.servers.secured_broker import PASSWORD, SecuredBroker
from tests.integration.projectors.service.http import QueryService
from tests.observed.log import assert_exactly_once, decided, send_creates
from tests.started.processes import Rollbook, RunningProcess, eventually
from tests.started.services import Service

# The longest pause between two attempts, and what a busy machine adds.
SECONDS = 100
REFUSED = "what is missing: a login that the brokers accept"
JANE = {"email": "jane@example.com", "name": "Jane", "age": 33}


def started(rollbook: Rollbook) -> dict[str, RunningProcess]:
    """Start one process of each kind that needs Kafka to begin its work."""
    return {
        "handler": rollbook.start_handler(wait=False),
        "projector": rollbook.start_projector("postgres"),
        "service": rollbook.start("serve", "commands", "--listen", "127.0.0.1:0"),
    }


def shown(rollbook: Rollbook) -> int:
    """Return how many users the read model shows; 0 if there is none yet."""
    return len(rollbook.run("users", "list", "--all", "--json").stdout.splitlines())


def service_of(process: RunningProcess) -> httpx2.Client:
    """Return a client of a service that listens already."""
    process.wait_for("listening at http://")
    url = process.text().split("listening at ", 1)[1].split()[0]
    return httpx2.Client(base_url=url, timeout=60, trust_env=False)


def test_a_wrong_password_is_waited_for(guarded: Rollbook, broker: SecuredBroker) -> None:
    """Every process says so and obeys SIGTERM; the service is not ready and sends nothing."""
    guarded.overrides |= broker.login("wrong")
    processes = started(guarded)
    for process in processes.values():
        process.wait_for(REFUSED)
        process.wait_for("trying again in 30.0 s")
    with closing(service_of(processes["service"])) as http:
        ready, created = http.get("/readyz"), http.post("/users", json=JANE)
    for answer in (ready, created):
        assert (answer.status_code, answer.json()["code"]) == (503, "kafka_forbidden")
    assert "nothing was sent" in created.json()["detail"]
    for process in processes.values():
        assert process.stop() == 0


@pytest.mark.parametrize(
    ("topic", "operation"),
    [("user-commands", AclOperation.WRITE), ("user-outcomes", AclOperation.READ)],
)
def test_a_service_is_not_ready_without_a_permission(
    topic: str, operation: AclOperation, guarded: Rollbook, broker: SecuredBroker
) -> None:
    """It says which is missing, and is ready again once that is granted."""
    name = guarded.settings.named(topic)
    missing = f"{operation.name.title()} on topic {name}"
    with closing(Service(guarded, "commands").http) as http:
        with broker.denied(ResourceType.TOPIC, name, operation):
            ready = eventually(lambda: (found := http.get("/readyz")).status_code == 503 and found)
            if operation is AclOperation.WRITE:
                refused = http.post("/users", json=JANE)
                assert (refused.status_code, refused.json()["code"]) == (503, "kafka_forbidden")
                assert "nothing was sent" in refused.json()["detail"]
        assert ready.json()["code"] == "kafka_forbidden"
        assert missing in ready.json()["detail"]
        eventually(lambda: http.get("/readyz").status_code == 200, what="it is ready again")
    assert missing in guarded.last_output()


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
def test_all_continue_once_the_password_is_right(guarded: Rollbook, broker: SecuredBroker) -> None:
    """At their start, and when the broker has another password for a while."""
    guarded.overrides |= broker.login("next")
    send_creates(guarded.settings, "a", 20)
    processes = started(guarded)
    try:
        for process in processes.values():
            process.wait_for(REFUSED)
        broker.set_password("next")
        eventually(lambda: shown(guarded) == 20, SECONDS)
        times = {name: process.text().count(REFUSED) for name, process in processes.items()}
        broker.set_password("another")
        send_creates(guarded.settings, "b", 20)
        for name, process in processes.items():
            process.wait_for(REFUSED, times[name] + 1)
        broker.set_password("next")
        eventually(lambda: shown(guarded) == 40, SECONDS)
    finally:
        broker.set_password(PASSWORD)
    assert_exactly_once(guarded.settings, 40)
    for process in processes.values():
        assert process.stop() == 0


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
@pytest.mark.parametrize(
    ("resource", "operation"),
    [
        ((ResourceType.TOPIC, "user-events"), AclOperation.READ),
        ((ResourceType.TOPIC, "user-hops"), AclOperation.DESCRIBE),
        ((ResourceType.GROUP, "rollbook-projector-postgres-1"), AclOperation.READ),
    ],
)
def test_a_projector_continues_once_it_is_permitted(
    resource: tuple[ResourceType, str],
    operation: AclOperation,
    guarded: Rollbook,
    broker: SecuredBroker,
) -> None:
    """At its start, and while it runs."""
    settings, kind, name = guarded.settings, resource[0], guarded.settings.named(resource[1])
    handler = guarded.start_handler()
    send_creates(settings, "a", 20)
    eventually(lambda: decided(settings) == 20)
    with broker.denied(kind, name, operation):
        projector = guarded.start_projector("postgres")
        projector.wait_for("denies access")
        projector.wait_for("trying again in 30.0 s")
    eventually(lambda: shown(guarded) == 20, SECONDS)
    if operation is AclOperation.READ and kind is ResourceType.TOPIC:
        times = projector.text().count("trying again in 30.0 s")
        with broker.denied(kind, name, operation):
            send_creates(settings, "b", 20)
            projector.wait_for("trying again in 30.0 s", times + 1)
        eventually(lambda: shown(guarded) == 40, SECONDS)
    assert name in projector.text()
    assert (handler.stop(), projector.stop()) == (0, 0)


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
def test_a_stream_of_events_continues_once_it_is_permitted(
    guarded: Rollbook, broker: SecuredBroker
) -> None:
    """Its reader stays connected, and gets every event once."""
    settings, service = guarded.settings, QueryService(guarded)
    name = settings.named("user-history")
    guarded.start_handler()
    with closing(service.http), closing(service.events("/events?from=beginning")) as events:
        send_creates(settings, "a", 5)
        seen = [next(one for _, one in events if one) for _ in range(5)]
        with broker.denied(ResourceType.TOPIC, name, AclOperation.READ):
            send_creates(settings, "b", 5)
            service.process.wait_for(f"a stream of events waits: Kafka at {broker.secured}")
        seen += [next(one for _, one in events if one) for _ in range(5)]
    assert len({(one["partition"], one["offset"]) for one in seen}) == 10
    assert f"Read on topic {name}" in service.process.text()
    assert "Traceback" not in service.process.text()
