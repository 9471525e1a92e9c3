"""The queries over HTTP answer what the commands print, and each store fails alone."""

from contextlib import closing
from typing import Any

import pytest

from tests.integration.projectors.service.http import QueryService
from tests.started.processes import Rollbook, RunningProcess

NOBODY = "0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90"


@pytest.fixture
def jane(
    rollbook: Rollbook, handler: RunningProcess, projectors: dict[str, RunningProcess]
) -> dict[str, Any]:
    """The outcome of Jane's second event; four others exist, too."""
    for number in range(4):
        address = f"user{number}@example.org"
        name = f"Jose Number {number}"
        rollbook.json("users", "create", "--email", address, "--name", name, "--age", str(number))
    created = rollbook.json(
        "users", "create", "--email", "jane@example.com", "--name", "Jane Doe", "--age", "34"
    )
    updated: dict[str, Any] = rollbook.json("users", "update", created["user_id"], "--age", "35")
    return updated


def test_the_queries_answer_what_their_commands_print(
    rollbook: Rollbook, service: QueryService, jane: dict[str, Any]
) -> None:
    assert_users_are_the_same(rollbook, service, jane)
    assert_searches_are_the_same(rollbook, service, jane)
    assert_a_wait_in_vain_ends_in_time(service, jane)
    scheme = rollbook.settings.elasticsearch_url.partition("://")[0]
    rollbook.overrides["ROLLBOOK_ELASTICSEARCH_URL"] = f"{scheme}://127.0.0.1:1"
    without_search = QueryService(rollbook)
    with closing(without_search.http):
        assert_only_searches_are_unavailable(without_search, jane)


def assert_users_are_the_same(
    rollbook: Rollbook, service: QueryService, jane: dict[str, Any]
) -> None:
    path, token = f"/users/{jane['user_id']}", {"rollbook-after": jane["token"]}
    answer = service.http.get(path, headers=token)
    assert answer.json() == rollbook.json("users", "get", jane["user_id"])
    assert answer.headers["etag"] == '"2"'
    known = service.http.get(path, headers={"if-none-match": '"2"'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", '"2"')

    before = service.get(f"{path}?at_version=1", headers=token)
    assert before == rollbook.json("users", "get", jane["user_id"], "--at-version", "1")
    assert service.get(f"{path}?at=1d", status=404)["code"] == "user_not_yet_created"
    assert service.get(f"/users/{NOBODY}", status=404)["code"] == "user_not_found"
    assert service.get(f"{path}?at_version=3", status=404)["code"] == "version_not_found"

    history = service.http.get(f"{path}/history?limit=1")
    events = history.json()["events"] + service.get(history.links["next"]["url"])["events"]
    assert events == rollbook.ndjson("users", "history", jane["user_id"])
    assert service.get("/summary") == rollbook.json("users", "summary")

    users, following = [], "/users?max_age=34&limit=3&after=" + jane["token"]
    while following:
        page = service.http.get(following)
        users += page.json()["users"]
        following = page.links.get("next", {}).get("url", "")
    assert users == rollbook.ndjson("users", "list", "--max-age", "34")
    assert len(users) == 4


def assert_searches_are_the_same(
    rollbook: Rollbook, service: QueryService, jane: dict[str, Any]
) -> None:
    asked = {"text": "jnae doe", "highlight": True, "facets": True}
    found = service.get("/search?text=jnae+doe&highlight=true&facets=true&after=" + jane["token"])
    printed = rollbook.ndjson("users", "search", "jnae", "doe", "--highlight", "--facets")
    assert [*found["users"], {"facets": found["facets"]}] == printed
    assert found["users"][0]["user_id"] == jane["user_id"]
    for method in ("POST", "QUERY"):
        answer = service.http.request(method, "/search", json=asked)
        assert answer.json() == found
        assert answer.headers["accept-query"] == '"application/json"'
        suggested = service.http.request(method, "/suggest", json={"prefix": "jan"})
        assert suggested.json()["users"] == rollbook.ndjson("users", "suggest", "jan")

    pages: list[str] = []
    body = {"text": "jose", "limit": 3}
    while True:
        page = service.http.post("/search", json=body).json()
        pages += [user["user_id"] for user in page["users"]]
        if page["next"] is None:
            break
        body["cursor"] = page["next"]
    assert len(pages) == len(set(pages)) == 4
    page = service.http.get("/search?text=jose&limit=3")
    assert len(service.get(page.links["next"]["url"])["users"]) == 1
    body["text"] = "other"
    assert service.http.post("/search", json=body).json()["code"] == "invalid_cursor"


def assert_a_wait_in_vain_ends_in_time(service: QueryService, jane: dict[str, Any]) -> None:
    path = f"/users/{jane['user_id']}"
    service.get(path, headers={"rollbook-after": jane["token"]})
    late = service.get(f"{path}?after=0:99999999&timeout=0.2", status=504)
    assert late["code"] == "not_visible_in_time"
    assert late["next"]


def assert_only_searches_are_unavailable(service: QueryService, jane: dict[str, Any]) -> None:
    service.get(f"/users/{jane['user_id']}", headers={"rollbook-after": jane["token"]})
    refused = service.http.get("/search?text=jane")
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert refused.json()["code"] == "elasticsearch_unavailable"
    service.get(f"/users/{jane['user_id']}")
    models = {one["read_model"]: one for one in service.get("/read-models")["read_models"]}
    assert models["elasticsearch"]["error"]["code"] == "elasticsearch_unavailable"
    assert models["postgres"]["error"] is None
    assert models["postgres"]["versions"][0]["lag_events"] == 0
    assert service.get("/readyz") == {"status": "ready"}
