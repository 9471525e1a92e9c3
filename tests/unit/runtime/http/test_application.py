"""What every service does with a request, whoever answers it."""

import asyncio
import logging

import pytest
from httpx2 import ASGITransport, AsyncClient

from runtime.http import application
from runtime.settings import Settings
from schemas.errors import Unavailable
from tests.unit.runtime.http.services import ADDRESS, client, trial

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "path_not_found"),
        ("PUT", "/users", 405, "method_not_allowed"),
        ("GET", "/users/x", 404, "user_not_found"),
        ("GET", "/users/busy", 503, "postgres_unavailable"),
        ("GET", "/users/crash", 500, "error"),
        ("GET", "/users/slow", 504, "request_not_in_time"),
    ],
)
def test_every_failure_is_a_problem_document(
    method: str, path: str, status: int, code: str
) -> None:
    answer = client(trial(http_request_seconds=0.2)).request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    assert document["next"]
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_body"),
        (b"[]", "malformed_body"),
        (b'{"a":1,"a":2}', "malformed_body"),
        (b'{"a":NaN}', "malformed_body"),
        (b'{"a":' + b"1" * 5000 + b"}", "malformed_body"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "malformed_body"),
        (b'{"a":"\xff"}', "malformed_body"),
        (b'{"a":"\\uD800"}', "malformed_body"),
        (b'{"\\udc00":1}', "malformed_body"),
        ('{"a":1}'.encode("utf-16"), "malformed_body"),
        (b'{"a":"' + b"x" * 70_000 + b'"}', "body_too_large"),
    ],
    ids=str,
)
def test_a_body_that_can_be_misunderstood_is_refused(body: bytes, code: str) -> None:
    answer = client(trial()).post("/users", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413 if "large" in code else 400, code)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-type": "text/plain"}, "unsupported_media_type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
        ({"content-type": "application/json; charset=latin-1"}, "unsupported_media_type"),
        ({"content-type": "application/x-ndjson"}, "unsupported_media_type"),
        (JSON | {"origin": "http://evil.example"}, "origin_not_allowed"),
        (JSON | {"origin": "null"}, "origin_not_allowed"),
        (JSON | {"sec-fetch-site": "cross-site"}, "origin_not_allowed"),
        (JSON | {"host": "evil.example"}, "host_not_allowed"),
        (JSON | {"host": "127.0.0.1.evil.example:80"}, "host_not_allowed"),
        (JSON | {"x-forwarded-for": "10.0.0.1"}, "host_not_allowed"),
    ],
    ids=str,
)
def test_a_web_page_cannot_call_a_service_without_keys(headers: dict[str, str], code: str) -> None:
    answer = client(trial()).post("/users", content=b"{}", headers=headers)
    assert answer.json()["code"] == code


def test_pages_of_permitted_origins_may_call() -> None:
    service = client(trial(http_cors_origins="https://shop.example"))
    origin = {"origin": "https://shop.example"}
    asked = origin | {"access-control-request-method": "POST"}
    assert service.options("/users", headers=asked).status_code == 200
    answer = service.post("/users", json={}, headers=origin)
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == origin["origin"]
    same = {"origin": "http://127.0.0.1:18082"}
    assert client(trial()).post("/users", json={}, headers=same).status_code == 201


def test_logs_have_no_personal_data(caplog: pytest.LogCaptureFixture) -> None:
    """Neither paths nor queries nor bodies nor the text of an unexpected error."""
    caplog.set_level(logging.INFO)
    service = client(trial())
    service.get(f"/{ADDRESS}")
    service.get("/users/crash", params={"email": ADDRESS})
    service.get(f"/users/{ADDRESS}")
    service.post("/users", json={"email": ADDRESS})
    text = "\n".join(record.getMessage() for record in caplog.records if "runtime" in record.name)
    assert "GET /users/{user_id} 500" in text
    assert "POST /users 201" in text
    assert "unexpected ValueError" in text
    assert ADDRESS not in text
    codes = {record.__dict__.get("code") for record in caplog.records}
    assert {"path_not_found", "user_not_found", "error", ""} <= codes


def test_a_stream_may_have_any_length_and_is_answered_while_it_arrives() -> None:
    lines = [b'{"a":"' + b"x" * 10_000 + b'"}\n'] * 20
    types = {"content-type": "application/x-ndjson"}
    answer = client(trial()).post("/lines", content=iter(lines), headers=types)
    assert answer.content == b"".join(lines)


def test_a_stream_that_has_begun_may_be_silent_for_longer_than_a_request_may_take() -> None:
    assert client(trial(http_request_seconds=0.2)).get("/silence").text == "end\n"


def test_probes_need_nothing() -> None:
    service = client(trial(), headers={"host": "10.0.0.1:80"})
    assert service.get("/livez").json() == {"status": "alive"}
    assert service.get("/readyz").json() == {"status": "ready"}


def test_probes_at_one_time_share_one_check() -> None:
    checks = 0

    async def ready() -> None:
        nonlocal checks
        checks += 1
        await asyncio.sleep(0.05)
        raise Unavailable("Kafka is unavailable", code="kafka_unavailable")

    async def run() -> set[int]:
        transport = ASGITransport(application(Settings(), title="trial", ready=ready))
        async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as caller:
            answers = await asyncio.gather(*(caller.get("/readyz") for _ in range(20)))
        return {answer.status_code for answer in answers}

    assert asyncio.run(run()) == {503}
    assert checks == 1
