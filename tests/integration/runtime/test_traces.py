"""The whole way of a command in one trace: real processes, servers and exporters, one receiver."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.observed.spans import Receiver, Seen, receiving
from tests.samples.given import PARTITIONS, address_in, home_of
from tests.started.processes import Rollbook, eventually
from tests.started.services import Service

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MOVED = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "jane@example.com"
ELSEWHERE = address_in((home_of(SECRET) + 1) % PARTITIONS)


@pytest.fixture
def receiver(rollbook: Rollbook) -> Iterator[Receiver]:
    """A receiver for the spans of every process that the test starts."""
    with receiving() as receiver:
        rollbook.overrides |= {
            "ROLLBOOK_TRACING": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds
        }
        yield receiver


def test_one_trace_shows_the_whole_way_of_a_command(rollbook: Rollbook, receiver: Receiver) -> None:
    """A creation over HTTP, then a change of address that needs two handlers' partitions."""
    rollbook.start("handler", "run", "--instance", "a")
    for name in ("postgres", "elasticsearch", "history"):
        rollbook.start_projector(name)
    prefix = f"{rollbook.settings.prefix}-"
    with closing(Service(rollbook, "commands").http) as http:
        _warm_up(http, receiver)
        user_id = _created(http)
        eventually(lambda: receiver.paths(TRACE) == _creation(prefix), 60, "the creation's trace")
        _check_creation(receiver.trace(TRACE), user_id)
        _check_batches(receiver, receiver.trace(TRACE))
        _record(receiver.trace(TRACE), prefix)
        _move(http, user_id)
        eventually(lambda: _move_path(prefix) in receiver.paths(MOVED), 60, "the move's trace")
    for address in (SECRET, ELSEWHERE):
        assert address not in repr(receiver.spans)


def _warm_up(http: httpx2.Client, receiver: Receiver) -> None:
    """Create a user without a context: the request begins a trace, which ends in every store."""
    answer = http.post("/users", json={"email": "joe@example.com", "name": "Joe", "age": 41})
    assert answer.status_code == 201
    models = {"postgres", "elasticsearch", "history"}
    applied = {f"rollbook-projector-{model}" for model in models}
    eventually(lambda: applied <= {span.service for span in receiver.spans}, 60, "a first trace")


def _created(http: httpx2.Client) -> str:
    answer = http.post(
        "/users",
        json={"email": SECRET, "name": "Jane Doe", "age": 34},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"},
    )
    assert answer.status_code == 201
    user_id: str = answer.json()["user_id"]
    return user_id


def _creation(prefix: str) -> set[str]:
    """Return the paths in the trace of the creation."""
    request = "rollbook-commands: POST /users"
    sent = f"rollbook-commands: send {prefix}user-commands < {request}"
    decided = f"rollbook-handler: process {prefix}user-commands < {sent}"
    written = f"rollbook-handler: send {prefix}user-events < {decided}"
    return {
        request,
        sent,
        decided,
        written,
        f"rollbook-projector-postgres: process {prefix}user-events < {written}",
        f"rollbook-projector-elasticsearch: process {prefix}user-events < {written}",
        f"rollbook-projector-history: process {prefix}user-history < {written}",
    }


def _check_creation(spans: list[Seen], user_id: str) -> None:
    request, sent, decided, _written, *applied = spans
    assert (request.parent, request.attributes["http.response.status_code"]) == (CALLER, 201)
    ids = [span.attributes["rollbook.command.id"] for span in (sent, decided, *applied)]
    assert len(set(ids)) == 1
    assert decided.attributes["rollbook.outcome"] == "accepted"
    for span in (decided, *applied):
        assert span.attributes["rollbook.user.id"] == user_id
    models = {span.attributes["rollbook.read_model"] for span in applied}
    assert models == {"postgres", "elasticsearch", "history"}
    assert not any(span.failed for span in spans)


def _check_batches(receiver: Receiver, spans: list[Seen]) -> None:
    """Each batch has a trace of its own and links to the records, which link to it."""
    batches = {span.id: span for span in receiver.spans if span.trace != TRACE}
    for span in spans:
        if span.kind == "consumer":
            [batch] = span.links
            assert span.parent in batches[batch].links
            assert batches[batch].service == span.service


def _record(spans: list[Seen], prefix: str) -> None:
    """Write the spans for the picture of docs/tracing.md, if a file for it is named."""
    file = os.environ.get("ROLLBOOK_TEST_TRACE_FILE")
    if not file:
        return
    began_ns = spans[0].start_ns
    rows = [
        {
            "service": span.service,
            "name": span.name.replace(prefix, ""),
            "id": span.id,
            "parent": span.parent,
            "start_ms": round((span.start_ns - began_ns) / 1e6, 2),
            "end_ms": round((span.end_ns - began_ns) / 1e6, 2),
        }
        for span in spans
    ]
    Path(file).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _move(http: httpx2.Client, user_id: str) -> None:
    """Change the address to one of another partition."""
    answer = http.put(
        f"/users/{user_id}/email",
        json={"email": ELSEWHERE},
        headers={"traceparent": f"00-{MOVED}-{CALLER}-01"},
    )
    assert answer.status_code == 200


def _move_path(prefix: str) -> str:
    """Return the path of the event that follows from messages between two partitions."""
    path = "rollbook-commands: PUT /users/{user_id}/email"
    path = f"rollbook-commands: send {prefix}user-commands < {path}"
    path = f"rollbook-handler: process {prefix}user-commands < {path}"
    for _ in ("reserve", "granted"):
        path = f"rollbook-handler: send {prefix}user-hops < {path}"
        path = f"rollbook-handler: process {prefix}user-hops < {path}"
    path = f"rollbook-handler: send {prefix}user-events < {path}"
    return f"rollbook-projector-postgres: process {prefix}user-events < {path}"
