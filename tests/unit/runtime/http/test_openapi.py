"""The OpenAPI document and its page say what every service answers."""

import re
from typing import Any

import pytest
from starlette.responses import Response

from runtime.http import json_response, refusals
from tests.unit.runtime.http.services import client, trial


def document() -> Any:
    return client(trial()).get("/openapi.json").json()


def test_each_operation_says_who_may_call_it_and_what_it_refuses() -> None:
    found = document()
    assert found["openapi"].startswith("3.1")
    create = found["paths"]["/users"]["post"]
    assert create["operationId"] == "create"
    assert create["security"] == [{"key": ["commands"]}]
    assert {"401", "403", "429", "500", "503", "504"} <= set(create["responses"])
    get = found["paths"]["/users/{user_id}"]["get"]
    assert "422" not in get["responses"]
    assert "401" not in get["responses"]
    assert "HTTPValidationError" not in found["components"]["schemas"]
    assert "security" not in found["paths"]["/livez"]["get"]
    assert set(found["components"]["securitySchemes"]) == {"key"}


def test_codes_of_one_status_are_listed_together() -> None:
    found = refusals("user_deleted", "user_erased", "user_not_found")
    assert set(found) == {404, 410}
    assert "`user_deleted`" in found[410]["description"]
    assert "`user_erased`" in found[410]["description"]
    with pytest.raises(KeyError):
        refusals("no_such_code")


def test_a_route_that_fastapi_would_have_to_read_for_is_refused() -> None:
    async def several(limit: int) -> Response:
        return json_response(limit)

    with pytest.raises(TypeError, match="/several"):
        trial().get("/several")(several)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    answer = client(trial()).get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src")
    assert "/users/{user_id}" in answer.text
    assert "<code>unauthenticated</code>" in answer.text
    assert not re.search(r"<script|https?://|src=|@import|url\(", answer.text)
