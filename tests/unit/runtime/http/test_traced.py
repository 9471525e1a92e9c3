"""The span of a request: in the caller's trace, and without what may hold personal data."""

import pytest

from runtime.http import json_response
from runtime.tracing import tracing
from runtime.tracing.context import headers_of
from runtime.tracing.tracing import Tracing
from tests.observed.spans import Seen, SpansInMemory
from tests.unit.runtime.http.services import ADDRESS, client, trial

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> SpansInMemory:
    found = SpansInMemory()
    monkeypatch.setattr(tracing, "started", [Tracing(found.tracer)])
    return found


def ask(spans: SpansInMemory, method: str, path: str, **headers: str) -> Seen:
    client(trial(tracing="otlp")).request(method, path, headers=headers)
    [span] = spans.seen()
    return span


def test_it_belongs_to_the_trace_of_the_caller(spans: SpansInMemory) -> None:
    span = ask(spans, "GET", f"/users/{ADDRESS}?name=Jane", traceparent=TRACEPARENT)
    assert (span.trace, span.parent, span.kind) == (TRACE, CALLER, "server")
    assert span.name == "GET /users/{user_id}"
    assert span.attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/users/{user_id}",
        "http.response.status_code": 404,
    }
    assert not span.failed


@pytest.mark.parametrize("traceparent", ["", "x", TRACEPARENT.replace(TRACE, "0" * 32)])
def test_a_malformed_context_begins_another_trace(spans: SpansInMemory, traceparent: str) -> None:
    span = ask(spans, "GET", "/users/x", traceparent=traceparent)
    assert (span.trace != TRACE, span.parent) == (True, "")


@pytest.mark.parametrize(("path", "kind"), [("/users/busy", "503"), ("/users/crash", "500")])
def test_a_failure_shows_its_status_and_no_message(
    spans: SpansInMemory, path: str, kind: str
) -> None:
    span = ask(spans, "GET", path)
    assert (span.failed, span.attributes["error.type"]) == (True, kind)
    assert ADDRESS not in repr(span)


def test_a_method_that_is_none_is_not_quoted(spans: SpansInMemory) -> None:
    span = ask(spans, "JANE", "/nothing")
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")


def test_probes_have_no_span(spans: SpansInMemory) -> None:
    client(trial(tracing="otlp")).get("/livez")
    assert spans.seen() == []


def test_what_a_request_does_is_below_it(spans: SpansInMemory) -> None:
    app = trial(tracing="otlp")

    @app.get("/context")
    async def context() -> object:
        return json_response(headers_of())

    carried = client(app).get("/context", headers={"traceparent": TRACEPARENT}).json()
    [span] = spans.seen()
    assert carried == {"traceparent": f"00-{TRACE}-{span.id}-01"}
