"""Which documents of a bulk request are resent, and which answers are errors."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError

from projectors.elasticsearch.client import connect, explain
from projectors.elasticsearch.index.bulk import BulkWriter, Lines, failed_lines
from projectors.elasticsearch.index.mapping import document
from projectors.elasticsearch.index.write_lock import WritesPaused
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured, Poisoned, Unavailable


def item(status: int, problem: str = "") -> dict[str, Any]:
    """Return one item of a filtered answer."""
    return {"index": {"status": status} | ({"error": {"type": problem}} if problem else {})}


def resent(*items: dict[str, Any]) -> tuple[list[str], Unavailable | None]:
    """Return the users who are resent, given one user per item, and why."""
    part: list[Lines] = [(f"user-{n}", b"action\ndocument\n") for n in range(len(items))]
    left, why = failed_lines(Settings(), "users-1", part, items)
    return [user_id for user_id, _ in left], why


BUSY = item(429, "es_rejected_execution_exception")
FAILED = item(503, "unavailable_shards_exception")
OLD = item(409, "version_conflict_engine_exception")
REFUSED = item(400, "document_parsing_exception")
BLOCKED = item(403, "cluster_block_exception")


def test_only_failed_documents_are_resent() -> None:
    left, why = resent(item(201), BUSY, item(200), OLD, FAILED)
    assert left == ["user-1", "user-4"]
    assert "503" in str(why)


def test_a_version_conflict_is_not_a_failure() -> None:
    assert resent(OLD, item(201), OLD) == ([], None)


def test_the_error_for_a_refused_document_names_only_the_user_id() -> None:
    """Documents still to be sent are applied again when the batch is split."""
    with pytest.raises(Poisoned, match="user-1: document_parsing_exception"):
        resent(BUSY, REFUSED, OLD)


@pytest.mark.parametrize("answer", [BLOCKED, item(404, "index_not_found_exception")])
def test_a_write_block_or_a_missing_alias_pauses_the_writer(answer: dict[str, Any]) -> None:
    """Whether the index was deleted or a swap is running is found out by looking at the index."""
    with pytest.raises(WritesPaused, match="users-1"):
        resent(item(201), REFUSED, answer)


@pytest.mark.parametrize(
    "problem", ["index_closed_exception", "routing_missing_exception", "unheard_of_exception"]
)
def test_a_closed_index_makes_no_document_poisoned(problem: str) -> None:
    """Nor does any other reason that is not the document's."""
    with pytest.raises(Unavailable, match=problem):
        resent(item(201), item(400, problem))


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("problem", ["index_closed_exception", "cluster_block_exception"])
def test_a_request_that_a_closed_or_blocked_index_refuses_may_be_retried(
    status: int, problem: str
) -> None:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.0, NodeConfig("http", "es", 9200))
    error = explain(Settings(), ApiError(problem, meta, {"error": {"type": problem}}))
    assert isinstance(error, Unavailable)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_write_of_many_documents_to_a_server_that_hangs_ends_in_time(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of eight requests would be tried five times, three at a time."""
    monkeypatch.setattr("projectors.elasticsearch.index.bulk.STORE_SECONDS", 0.5)
    settings = Settings(elasticsearch_url=silent_server)
    events = [user_event(number) for number in range(10_000)]
    with closing(connect(settings)) as client:
        writer = BulkWriter(settings, client, "users-1", document)
        began = time.monotonic()
        with closing(writer), pytest.raises(Unavailable):
            writer.store(events)
        assert time.monotonic() - began < 5


def test_missing_permission_is_a_configuration_error() -> None:
    """A retry would not help."""
    with pytest.raises(Misconfigured) as misconfigured:
        resent(item(201), item(403, "security_exception"))
    assert misconfigured.value.code == "elasticsearch_forbidden"
