"""What the service answers without asking any store."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from projectors.service.app import queries_application
from runtime.settings import Settings

USER = "/users/0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90"
# More digits than Python converts, with a small number at the beginning.
LONG = "0" * 19 + "1" * 5_000
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = queries_application(Settings(), {})  # {}: with operations
    return TestClient(app, base_url="http://127.0.0.1:18083")


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/users/jane", None, 422, "invalid_command"),
        ("GET", f"{USER}?at_version=0", None, 400, "invalid_request"),
        ("GET", f"{USER}?at=soon", None, 400, "invalid_request"),
        ("GET", f"{USER}?at=1h&at_version=1", None, 400, "invalid_request"),
        ("GET", f"{USER}?after=3", None, 422, "invalid_token"),
        ("GET", f"{USER}?after=9999:1", None, 422, "invalid_token"),
        ("GET", f"{USER}?timeout=1e9", None, 400, "invalid_request"),
        ("GET", "/users?min-age=3", None, 400, "invalid_request"),
        ("GET", "/users?min_age=30&max_age=20", None, 400, "invalid_request"),
        ("GET", "/users?limit=10001", None, 400, "invalid_request"),
        ("GET", "/users?cursor=x", None, 422, "invalid_cursor"),
        ("GET", "/search", None, 422, "invalid_query"),
        ("GET", "/search?age_group=baby", None, 400, "invalid_request"),
        ("GET", "/search?text=jane&reverse=true", None, 422, "invalid_query"),
        ("QUERY", "/search", {"text": 5}, 400, "invalid_request"),
        ("POST", "/search", {"texts": "jane"}, 400, "invalid_request"),
        ("POST", "/search", None, 415, "unsupported_media_type"),
        ("GET", "/suggest", None, 400, "invalid_request"),
        ("GET", "/events?from=soon", None, 400, "invalid_request"),
        ("GET", "/events?type=UserRenamed", None, 400, "invalid_request"),
        ("GET", "/events?user=jane", None, 422, "invalid_command"),
        ("POST", "/read-models/nothing/rebuild", None, 404, "unknown_read_model"),
        ("POST", "/read-models/postgres/versions/x/swap", None, 404, "version_not_found"),
        ("DELETE", "/read-models/postgres/versions/0", None, 404, "version_not_found"),
        ("DELETE", f"/read-models/postgres/versions/{LONG}", None, 404, "version_not_found"),
        ("GET", "/jobs/1", None, 404, "job_not_found"),
        ("GET", "/jobs/1/lines", None, 404, "job_not_found"),
        ("POST", "/dead-letters/retry", {}, 400, "invalid_request"),
        ("POST", "/dead-letters/retry", {"all": True, "letters": ["a"]}, 400, "invalid_request"),
        ("POST", "/dead-letters/discard", {"all": True, "dry_run": True}, 400, "invalid_request"),
        ("POST", "/users", {}, 405, "method_not_allowed"),
    ],
)
def test_what_makes_no_sense_is_refused_by_our_rules(
    client: TestClient,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    *,
    status: int,
    code: str,
) -> None:
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs"),
        ("DELETE", "/jobs/1"),
        ("POST", "/verify"),
        ("POST", "/read-models/postgres/rebuild"),
        ("POST", "/read-models/postgres/versions/2/swap"),
        ("DELETE", "/read-models/postgres/versions/2"),
        ("GET", "/dead-letters"),
        ("GET", "/dead-letters/user-events:0:1?payload=true"),
        ("POST", "/dead-letters/retry"),
    ],
)
def test_by_default_the_service_only_reads(method: str, path: str) -> None:
    client = TestClient(queries_application(Settings()), base_url="http://127.0.0.1:18083")
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "operations_not_served")
    assert "--operations" in answer.json()["next"]


def test_a_service_that_only_reads_documents_nothing_else(document: dict[str, Any]) -> None:
    client = TestClient(queries_application(Settings()), base_url="http://127.0.0.1:18083")
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) < set(document["paths"])
    scopes = {str(one.get("security")) for path in paths.values() for one in path.values()}
    assert not any("operate" in scope for scope in scopes)
    assert any("queries" in scope for scope in scopes)


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            for name, value in part.items():
                if name == "$ref":
                    assert value.rpartition("/")[2] in document["components"]["schemas"]
                check(value)
        elif isinstance(part, list):
            for one in part:
                check(one)

    check(document["paths"])
    check(document["components"]["schemas"])


def test_the_document_has_only_what_openapi_3_1_knows(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    operation_ids: list[str] = []
    for path in document["paths"].values():
        assert set(path) <= METHODS
        for operation in path.values():
            assert operation["summary"]
            operation_ids.append(operation["operationId"])
            names = [(one["in"], one["name"]) for one in operation.get("parameters", [])]
            assert len(names) == len(set(names))
    assert len(operation_ids) == len(set(operation_ids))


def test_it_is_ready_while_its_stores_are_down(client: TestClient) -> None:
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_the_number_of_a_line_is_refused_if_it_is_none(client: TestClient) -> None:
    for given in (LONG, "-1", "x"):
        answer = client.get("/jobs/1/lines", headers={"last-event-id": given})
        assert answer.json()["code"] == "invalid_event_id"
