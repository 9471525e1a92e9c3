"""The OpenAPI document of a service: what its routes say, and what holds for all of them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from runtime.callers.caller import Scope
from runtime.http.page import JsonSchema, page_response
from runtime.problem import MEDIA_TYPE, problem
from schemas.error_codes import ErrorCode, error_codes
from schemas.errors import Rejected

_METHODS: Final = ("get", "put", "post", "delete", "patch")  # OpenAPI 3.1 has no QUERY
_PROBES: Final = ("/livez", "/readyz")
_OF_ALL: Final = (
    *("host_not_allowed", "origin_not_allowed", "not_from_proxy", "invalid_request"),
    *("service_busy", "request_not_in_time", "error"),
)
_OF_CALLERS: Final = ("unauthenticated", "scope_missing", "too_many_requests")
_OF_BODIES: Final = (
    *("malformed_body", "unsupported_media_type", "body_too_large", "body_too_slow"),
)
_PROBLEM: Final[JsonSchema] = {
    "type": "object",
    "title": "Problem",
    "description": "Why a request failed (RFC 9457). It has no personal data in it.",
    "required": ["type", "title", "status", "detail", "code", "next"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "The name of the status."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What failed, for people."},
        "code": {"type": "string", "description": "What failed, for programs: it never changes."},
        "next": {"type": "string", "description": "What the caller can do."},
        "field": {"type": "string", "description": "The field or header that breaks a rule."},
        "user_id": {
            "type": "string",
            "format": "uuid",
            "description": "With `user_already_exists`: the user who holds the address.",
        },
    },
    "examples": [
        problem(Rejected("another user holds this e-mail address", code="user_already_exists"))
    ],
}
_SCHEME: Final = "key"
_SECURITY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `rollbook keys create`, or a token of the issuer of http_jwt_issuer. "
    "A service without either needs none, and answers this machine only.",
}


def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for these error codes: one per status, naming its codes.

    Codes that every route may answer with are added by `document`. Raises KeyError for a code
    that schemas/error_codes.toml does not have.
    """
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        row = _BY_CODE[code]
        found[row.status] = _refusal(found.get(row.status), row)
    return found


def add_documentation(app: FastAPI, schemas: Mapping[str, JsonSchema]) -> None:
    """Serve the document at `/openapi.json` and a page that shows it at `/`.

    Routes may refer to `schemas` by `#/components/schemas/NAME`.
    """

    async def openapi() -> Response:
        """Return the OpenAPI document."""
        return Response(orjson.dumps(_of(app, schemas)), media_type="application/json")

    async def page() -> Response:
        """Return the page for people."""
        return page_response(_of(app, schemas))

    app.add_api_route("/openapi.json", openapi, methods=["GET"], include_in_schema=False)
    app.add_api_route("/", page, methods=["GET"], include_in_schema=False)


def _of(app: FastAPI, schemas: Mapping[str, JsonSchema]) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = document(app, schemas)
    return app.openapi_schema


def document(app: FastAPI, schemas: Mapping[str, JsonSchema]) -> dict[str, Any]:
    """Return the document of the service with all its routes."""
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    for path, operations in found["paths"].items():
        for method in list(operations):
            if method in _METHODS:
                _complete(operations[method], is_probe=path in _PROBES)
            else:
                del operations[method]
    for path in _PROBES:
        found["paths"][path] = found["paths"].pop(path)  # the routes of the service come first
    found["components"] = {
        "schemas": {"Problem": _PROBLEM, **schemas},
        "securitySchemes": {_SCHEME: _SECURITY},
    }
    return found


def _complete(operation: dict[str, Any], *, is_probe: bool) -> None:
    """Add what every operation of its kind may answer."""
    responses = operation["responses"]
    # FastAPI adds its own form of refusal, which no route of ours answers with.
    if "ValidationError" in str(responses.get("422", "")):
        del responses["422"]
    codes = ["service_stopping"] if is_probe else list(_OF_ALL)
    if "security" in operation:
        scopes = [Scope(scope) for each in operation["security"] for scope in each]
        operation["security"] = [{_SCHEME: scopes}]
        codes += _OF_CALLERS
    if "requestBody" in operation:
        codes += _OF_BODIES
    for code in codes:
        row = _BY_CODE[code]
        responses[str(row.status)] = _refusal(responses.get(str(row.status)), row)
    operation["responses"] = dict(sorted(responses.items()))


def _refusal(before: dict[str, Any] | None, row: ErrorCode) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    said = f"`{row.code}`: {row.meaning}"
    if before is None:
        return {"description": said, "content": content}
    if f"`{row.code}`:" in before["description"]:
        return before
    return before | {
        "description": f"{before['description']}\n\n{said}",
        "content": before.get("content", {}) | content,
    }


def _by_code(rows: Iterable[ErrorCode]) -> dict[str, ErrorCode]:
    """Return the rows by code; of two with one code, the one that a caller can cause."""
    found: dict[str, ErrorCode] = {}
    for row in rows:
        found.setdefault(row.code, row)
    return found


_BY_CODE: Final = _by_code(error_codes())
