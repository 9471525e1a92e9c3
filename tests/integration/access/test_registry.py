"""The schema registry behind a reverse proxy that refuses a login or one kind of request."""

from collections.abc import Iterator

import pytest

from runtime.settings import Settings
from schemas.topics import COMMANDS
from tests.depth import DEEP
from tests.integration.access.servers.refusing_proxy import (
    PASSWORD,
    USER,
    RefusingProxy,
    refusing_proxy,
)
from tests.observed.log import decided, put, send_creates
from tests.started.processes import Rollbook, eventually

# A record that names a schema that the registry does not have.
FOREIGN = b"\x00\x7f\xff\xff\x00junk"
CREATE = ("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "33")
# The longest pause between two attempts, and what a busy machine adds.
SECONDS = 100


@pytest.fixture
def proxy(settings: Settings, rollbook: Rollbook) -> Iterator[RefusingProxy]:
    """The proxy through which `rollbook` calls the registry."""
    server, path = settings.registry_url.split("/apis", 1)
    with refusing_proxy(server) as proxy:
        rollbook.overrides |= {
            "ROLLBOOK_REGISTRY_URL": f"{proxy.url}/apis{path}",
            "ROLLBOOK_REGISTRY_USERNAME": USER,
            "ROLLBOOK_REGISTRY_PASSWORD": PASSWORD,
        }
        yield proxy


def test_a_command_ends_and_processes_wait(proxy: RefusingProxy, rollbook: Rollbook) -> None:
    """A command sends nothing; a process says what is missing and can be stopped."""
    proxy.refuse("POST", "/subjects/")
    denied = rollbook.json(*CREATE, code=2)["error"]
    proxy.password = "another"
    refused = rollbook.json(*CREATE, code=2)["error"]
    processes = [
        rollbook.start_handler(wait=False),
        rollbook.start_projector("history"),
        rollbook.start("serve", "commands", "--listen", "127.0.0.1:0"),
    ]
    assert {denied["code"], refused["code"]} == {"registry_forbidden"}
    assert "denies access (status 403)" in denied["message"]
    assert "to look up rollbook.UserCommand" in denied["message"]
    assert "denies access (status 401)" in refused["message"]
    for process in processes:
        process.wait_for("denies access (status 401)")
        process.wait_for("trying again in 30.0 s")
        assert process.stop() == 0


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
@pytest.mark.parametrize(("method", "part"), [("POST", "/subjects/"), ("GET", "/schemas/ids/")])
def test_processes_continue_once_requests_are_permitted(
    method: str, part: str, proxy: RefusingProxy, rollbook: Rollbook
) -> None:
    proxy.refuse(method, part)
    send_creates(rollbook.settings, "a", 20)
    handler, projector = rollbook.start_handler(wait=False), rollbook.start_projector("postgres")
    for process in (handler, projector):
        process.wait_for("denies access (status 403)")
    assert decided(rollbook.settings) == 0
    proxy.refuse_nothing()
    eventually(lambda: len(rollbook.ndjson("users", "list", "--all")) == 20, SECONDS)
    assert {handler.stop(), projector.stop()} == {0}


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
def test_only_the_partition_with_an_unknown_schema_waits(
    proxy: RefusingProxy, rollbook: Rollbook
) -> None:
    """While the registry may not be asked for it; it is asked again after 30 s."""
    settings = rollbook.settings
    handler = rollbook.start_handler()
    proxy.refuse("GET", "/schemas/ids/")
    put(settings, COMMANDS, (b"foreign", FOREIGN, 0))
    handler.wait_for("denies access (status 403)")
    send_creates(settings, "a", 40)
    eventually(lambda: 0 < decided(settings) < 40)
    assert len(proxy.refused) == 1
    proxy.refuse_nothing()
    eventually(lambda: decided(settings) == 40, SECONDS)
    assert len(rollbook.ndjson("dead-letters", "list")) == 1
    assert handler.stop() == 0
