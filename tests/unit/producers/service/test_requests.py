"""Requests that are refused before anything is sent, in memory and without brokers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from producers.service.app import command_application
from producers.service.bodies import KINDS
from runtime.callers.caller import Scope
from runtime.callers.key_file import add_key, new_key
from runtime.settings import Settings

ID = "018bcfe5-6800-7abc-8000-000000000000"
JANE: dict[str, Any] = {"email": "jane@example.com", "name": "Jane Doe", "age": 34}
SECRET = "qsecretq"


class Case(NamedTuple):
    """A request, its answer, and the field that the answer names."""

    method: str
    path: str
    body: Any
    status: int
    code: str
    field: str | None = None
    headers: Mapping[str, str] = {}


def invalid(method: str, path: str, body: Any, field: str | None, **headers: str) -> Case:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(method, path, body, 422, "invalid_command", field, named)


BAD_AGES: list[Any] = [-1, 151, 34.0, "34", True, 10**30, 1e308, [34], {}]
CASES = [
    *(
        invalid("POST", "/users", {k: v for k, v in JANE.items() if k != gone}, gone)
        for gone in JANE
    ),
    *(invalid("POST", "/users", JANE | {gone: None}, gone) for gone in JANE),
    invalid("POST", "/users", JANE | {"email": SECRET}, "email"),
    invalid("POST", "/users", JANE | {"name": f" {SECRET}\x00"}, "name"),
    *(invalid("POST", "/users", JANE | {"age": age}, "age") for age in BAD_AGES),
    invalid("POST", "/users", JANE, "Idempotency-Key", idempotency_key="a b"),
    Case("POST", "/users", JANE | {"nickname": SECRET}, 422, "unknown_field"),
    Case("POST", "/users", JANE | {"command_id": "c"}, 422, "unknown_field"),
    Case("POST", "/users", b"", 400, "malformed_body"),
    Case("POST", "/users", b"[]", 400, "malformed_body"),
    Case("POST", "/users", b'{"age": 1, "age": 2}', 400, "malformed_body"),
    Case("POST", "/users", b'{"age": NaN}', 400, "malformed_body"),
    Case(
        "POST", "/users", b"{}", 415, "unsupported_media_type", None, {"content-type": "text/plain"}
    ),
    invalid("PATCH", f"/users/{ID}", {}, None),
    invalid("PATCH", f"/users/{ID}", {"age": None}, "age"),
    invalid("PATCH", f"/users/{ID}", {"name": ""}, "name"),
    invalid("PATCH", f"/users/{SECRET}", {"age": 3}, "user_id"),
    invalid("PATCH", f"/users/{ID}", {"age": 3}, "If-Match", if_match='W/"3"'),
    Case("PATCH", f"/users/{ID}", {"email": "jane@example.com"}, 422, "unknown_field"),
    Case("PATCH", f"/users/{ID}", {"expected_version": 3}, 422, "unknown_field"),
    invalid("PUT", f"/users/{ID}/email", {}, "email"),
    invalid("PUT", f"/users/{ID}/email", {"email": f"{SECRET}@localhost"}, "email"),
    invalid("DELETE", f"/users/{SECRET}", None, "user_id"),
    Case("DELETE", f"/users/{ID}", {"age": 3}, 422, "unknown_field"),
    Case("POST", f"/users/{ID}/erasure", {"yes": True}, 422, "unknown_field"),
    Case("GET", "/commands/c?partition=1", None, 400, "invalid_request"),
    Case("GET", "/commands/c?partition=8&offset=0&answer_from=0", None, 400, "invalid_request"),
    Case("GET", "/commands/c?partition=1&offset=-1&answer_from=0", None, 400, "invalid_request"),
    Case(
        "GET",
        f"/commands/c?partition=1&offset={'0' * 19}{'1' * 5_000}&answer_from=0",
        None,
        400,
        "invalid_request",
    ),
    Case(
        "GET",
        f"/commands/c?partition=1&offset={10**30}&answer_from=0",
        None,
        400,
        "invalid_request",
    ),
    Case("GET", "/commands/a%20b", None, 422, "invalid_command"),
    Case("POST", "/commands", b"{}", 415, "unsupported_media_type"),
]
ACCEPTABLE = [
    Case("POST", "/users", JANE, 503, "kafka_unavailable"),
    Case("PATCH", f"/users/{ID}", {"age": 3}, 503, "kafka_unavailable", None, {"if-match": '"3"'}),
    Case("PUT", f"/users/{ID}/email", {"email": "a@example.com"}, 503, "kafka_unavailable"),
    Case("DELETE", f"/users/{ID}", None, 503, "kafka_unavailable"),
    Case("POST", f"/users/{ID}/erasure", {}, 503, "kafka_unavailable"),
]


@pytest.fixture(scope="module")
def service() -> TestClient:
    """The service before it has reached a broker."""
    return TestClient(command_application(Settings()), base_url="http://127.0.0.1:18082")


@pytest.mark.parametrize("case", [*CASES, *ACCEPTABLE], ids=str)
def test_the_answer_says_what_is_wrong(service: TestClient, case: Case) -> None:
    """It names the field, repeats no value, and comes before the brokers are asked."""
    content = {"content": case.body} if isinstance(case.body, bytes) else {"json": case.body}
    headers = {"content-type": "application/json"} if case.body is not None else {}
    answer = service.request(
        case.method,
        case.path,
        headers=headers | dict(case.headers),
        **({} if case.body is None else content),
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (case.status, case.code), problem
    assert problem.get("field") == case.field
    assert SECRET not in answer.text
    assert problem["next"]


def test_an_unknown_field_is_named(service: TestClient) -> None:
    answer = service.post("/users", json=JANE | {"nickname": SECRET}).json()
    assert "nickname" in answer["detail"]
    assert answer["next"] == "the fields are email, name, age"


def test_the_document_describes_every_path(service: TestClient) -> None:
    paths = service.get("/openapi.json").json()["paths"]
    found = {(path, method) for path, methods in paths.items() for method in methods}
    assert found == {
        ("/users", "post"),
        ("/users/{user_id}", "patch"),
        ("/users/{user_id}", "delete"),
        ("/users/{user_id}/email", "put"),
        ("/users/{user_id}/erasure", "post"),
        ("/commands", "post"),
        ("/commands/{command_id}", "get"),
        ("/livez", "get"),
        ("/readyz", "get"),
    }
    lines = paths["/commands"]["post"]["requestBody"]["content"]["application/x-ndjson"]
    assert [line["properties"]["kind"]["const"] for line in lines["schema"]["oneOf"]] == list(KINDS)


def test_each_path_needs_its_scope(tmp_path: Path) -> None:
    """Erasing has its own: whoever may change users may not erase them."""
    file = tmp_path / "keys.json"
    keys = {}
    for scope in (Scope.COMMANDS, Scope.ERASE):
        key, keys[scope] = new_key(scope, frozenset({scope}))
        add_key(file, key)
    service = TestClient(
        command_application(Settings(http_keys_file=str(file))), base_url="http://127.0.0.1:18082"
    )

    def code(case: Case, key: str) -> str:
        headers = dict(case.headers) | ({"authorization": f"Bearer {key}"} if key else {})
        body = {} if case.body is None else {"json": case.body}
        answer = service.request(case.method, case.path, headers=headers, **body)
        found: str = answer.json()["code"]
        return found

    for case in ACCEPTABLE:
        needed = Scope.ERASE if case.path.endswith("/erasure") else Scope.COMMANDS
        [other] = set(keys) - {needed}
        assert code(case, "") == "unauthenticated"
        assert code(case, keys[other]) == "scope_missing"
        assert code(case, keys[needed]) == "kafka_unavailable"
