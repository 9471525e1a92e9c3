"""Elasticsearch behind a reverse proxy that refuses a login or one kind of request."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from runtime.settings import Settings
from tests.depth import DEEP
from tests.integration.access.servers.refusing_proxy import (
    PASSWORD,
    USER,
    RefusingProxy,
    refusing_proxy,
)
from tests.integration.projectors.service.http import QueryService
from tests.observed.log import decided, send_creates
from tests.started.processes import Rollbook, RunningProcess, eventually

# The longest pause between two attempts, and what a busy machine adds.
SECONDS = 100


@pytest.fixture
def proxy(settings: Settings, rollbook: Rollbook) -> Iterator[RefusingProxy]:
    """The proxy through which `rollbook` calls Elasticsearch."""
    with refusing_proxy(settings.elasticsearch_url) as proxy:
        rollbook.overrides |= {
            "ROLLBOOK_ELASTICSEARCH_URL": proxy.url,
            "ROLLBOOK_ELASTICSEARCH_USERNAME": USER,
            "ROLLBOOK_ELASTICSEARCH_PASSWORD": PASSWORD,
        }
        yield proxy


def found(rollbook: Rollbook) -> int:
    """Return how many users a search finds; 0 while it is refused."""
    done = rollbook.run("users", "search", "Jane", "--all", "--json")
    return len(done.stdout.splitlines())


def test_a_search_ends_and_names_what_is_missing(proxy: RefusingProxy, rollbook: Rollbook) -> None:
    """The login, or the request that is not permitted: proxies do not name a privilege."""
    rollbook.start_projector("elasticsearch").wait_for("assigned: partitions [0")
    proxy.refuse("POST", "_search")
    denied = rollbook.json("users", "search", "jane", code=2)["error"]
    proxy.password = "another"
    refused = rollbook.json("users", "search", "jane", code=2)["error"]
    assert {denied["code"], refused["code"]} == {"elasticsearch_forbidden"}
    assert "(status 403): POST " in denied["message"]
    assert "_search is not permitted" in denied["message"]
    assert "(status 401)" in refused["message"]
    assert "elasticsearch_username" in refused["message"]
    assert "html" not in denied["message"] + refused["message"]


def test_a_projector_waits_for_its_login(proxy: RefusingProxy, rollbook: Rollbook) -> None:
    """It says so and can be stopped; `projector status` and searches over HTTP say so too."""
    proxy.password = "another"
    projector = rollbook.start_projector("elasticsearch")
    projector.wait_for("denies access (status 401)")
    projector.wait_for("trying again in 30.0 s")
    status = rollbook.run("projector", "status")
    assert "denies access (status 401)" in status.stdout + status.stderr
    service = QueryService(rollbook)
    with closing(service.http):
        assert service.get("/creations", 503)["code"] == "elasticsearch_forbidden"
    assert projector.stop() == 0


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
def test_a_projector_continues_once_it_may_create_its_index(
    proxy: RefusingProxy, rollbook: Rollbook, handler: RunningProcess
) -> None:
    send_creates(rollbook.settings, "a", 20)
    proxy.refuse("PUT", "users-1")
    projector = rollbook.start_projector("elasticsearch")
    projector.wait_for("is not permitted")
    assert proxy.refused
    proxy.refuse_nothing()
    eventually(lambda: found(rollbook) == 20, SECONDS)
    assert projector.stop() == 0


@pytest.mark.skipif(not DEEP, reason="takes minutes; `make test-deep` runs it")
@pytest.mark.parametrize("part", ["users-1-write/_bulk", "checkpoints/_bulk"])
def test_a_projector_continues_once_it_may_write_again(
    part: str, proxy: RefusingProxy, rollbook: Rollbook, handler: RunningProcess
) -> None:
    """Nothing is lost, and no good event became a dead letter."""
    settings = rollbook.settings
    projector = rollbook.start_projector("elasticsearch")
    send_creates(settings, "a", 20)
    eventually(lambda: found(rollbook) == 20)
    proxy.refuse("POST", part)
    send_creates(settings, "b", 20)
    projector.wait_for(f"{part} is not permitted")
    projector.wait_for("trying again in 30.0 s")
    proxy.refuse_nothing()
    eventually(lambda: found(rollbook) == 40, SECONDS)
    assert decided(settings) == 40
    assert rollbook.ndjson("dead-letters", "list") == []
    assert projector.stop() == 0
