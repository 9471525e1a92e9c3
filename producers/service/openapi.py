"""What the OpenAPI document says about each path, from the rules and codes that apply to it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from producers.service.bodies import KINDS
from runtime.http import refusals
from runtime.http.page import JsonSchema
from schemas.fields.rules import AGE_MAX_YEARS, COMMAND_ID_MAX_CHARACTERS, NAME_MAX_CHARACTERS
from schemas.records import CHANGE_EMAIL, CREATE_USER, DELETE_USER, ERASE_USER, UPDATE_USER

_EMAIL_MAX_CHARACTERS: Final = 254
_MANY: Final = "application/x-ndjson"
_USER_ID: Final = "018bcfe5-6800-7abc-8000-000000000000"
_COMMAND_ID: Final = "01a22057-dff5-7779-800d-f19fa09dee42"

_KEY: Final = {
    "type": "string",
    "pattern": rf"^[!-~]{{1,{COMMAND_ID_MAX_CHARACTERS}}}$",
    "examples": [_COMMAND_ID],
}
_VERSION: Final = {"type": "integer", "minimum": 1, "examples": [3]}
_FIELDS: Final[Mapping[str, Any]] = {
    "email": {
        "type": "string",
        "format": "email",
        "maxLength": _EMAIL_MAX_CHARACTERS,
        "description": "Unique among all users; stored as email-validator normalises it.",
        "examples": ["jane@example.com"],
    },
    "name": {
        "type": "string",
        "minLength": 1,
        "maxLength": NAME_MAX_CHARACTERS,
        "description": "Without control characters and invisible characters.",
        "examples": ["Jane Doe"],
    },
    "age": {"type": "integer", "minimum": 0, "maximum": AGE_MAX_YEARS, "examples": [34]},
    "user_id": {"type": "string", "format": "uuid", "examples": [_USER_ID]},
    "expected_version": _VERSION,
    "command_id": _KEY,
}
_OUTCOME_FIELDS: Final = [
    *("command_id", "status", "user_id", "version", "code", "message", "token"),
]
_OUTCOME: Final[JsonSchema] = {
    "type": "object",
    "title": "Outcome",
    "description": "What became of a command. It has no personal data in it.",
    "required": _OUTCOME_FIELDS,
    "properties": {
        "command_id": {"type": "string"},
        "status": {"enum": ["accepted", "rejected", "undecided"]},
        "user_id": {"type": ["string", "null"], "format": "uuid"},
        "version": {"type": ["integer", "null"], "description": "The user's version after it."},
        "code": {"type": ["string", "null"], "description": "Why it was rejected."},
        "message": {"type": ["string", "null"]},
        "token": {"type": ["string", "null"], "description": "For `Rollbook-After` of a query."},
    },
}
_LINE: Final[JsonSchema] = {
    **_OUTCOME,
    "title": "Line",
    "description": "What became of the command in one line.",
    "required": ["line", *_OUTCOME_FIELDS],
    "properties": {
        **_OUTCOME["properties"],
        "line": {"type": ["integer", "null"], "description": "The line that it answers, from 1."},
        "command_id": {"type": ["string", "null"]},
        "status": {"enum": ["accepted", "rejected", "undecided", "not_sent"]},
    },
}
SCHEMAS: Final = {"Outcome": _OUTCOME, "Line": _LINE}

_HEADERS: Final = {
    "ETag": "The user's version in quotation marks, for If-Match.",
    "Rollbook-Token": "With it as Rollbook-After, a query waits until it shows this.",
    "Location": "The user, or with 202 and 504 the command.",
    "Preference-Applied": "What was followed of Prefer.",
    "Retry-After": "Seconds.",
}

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "The command's id. For at least five minutes, a request for the same user (a creation: the "
        "same address) with the same key is decided once and gets the same answer; with another "
        "body it is refused as command_id_reused. Without it, the command gets a new id."
    ),
    "schema": _KEY,
}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "The version that the user must have, as its ETag; refused with 412 otherwise.",
    "schema": {"type": "string", "examples": ['"3"']},
}
_PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "description": (
        "`respond-async`: answer 202 with the Location of the command, once it is on the log, "
        "instead of waiting for the outcome. `wait=N`: wait at most N seconds, up to 30 (without "
        "it: 10); then the answer is 202 with `respond-async` and 504 without."
    ),
    "schema": {"type": "string", "examples": ["respond-async, wait=5"]},
}
_USER: Final = {"name": "user_id", "in": "path", "required": True, "schema": _FIELDS["user_id"]}


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: Mapping[str, Any], *media_types: str) -> dict[str, Any]:
    return {name: {"schema": schema} for name in media_types or ["application/json"]}


def _answer(description: str, *headers: str) -> dict[str, Any]:
    shown = {
        name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in headers
    }
    return {"description": description, "headers": shown, "content": _content(_ref("Outcome"))}


def _command(
    name: str,
    kind: str,
    *codes: str,
    required: tuple[str, ...] = (),
    media_types: tuple[str, ...] = ("application/json",),
) -> dict[str, Any]:
    """Return the arguments of the route that sends commands of this kind.

    `codes` are those of rejections; `required` are the fields that its body must have.
    """
    is_creation, remains = kind == CREATE_USER, kind not in {DELETE_USER, ERASE_USER}
    status = 201 if is_creation else 200
    headers = ["Rollbook-Token", "Preference-Applied"]
    headers += ["ETag"] * remains + ["Location"] * is_creation
    extra: dict[str, Any] = {"parameters": [_IDEMPOTENCY_KEY, _PREFER]}
    if not is_creation:
        extra["parameters"] += [_USER, _IF_MATCH]
        codes += ("user_not_found", "version_conflict")
    fields = [name for name in KINDS[kind].fields if name in {"email", "name", "age"}]
    if fields:
        extra["requestBody"] = {
            "required": True,
            "content": _content(_body(fields, required), *media_types),
        }
    codes += ("malformed_body", "unknown_field", "invalid_command", "command_id_reused")
    later = _answer("Not decided yet, but certain to be decided.", "Location", "Retry-After")
    return {
        "operation_id": name,
        "status_code": status,
        "responses": {
            status: _answer("The outcome.", *headers),
            202: later,
            **refusals(*codes, "not_in_time", "not_sent", "kafka_unavailable"),
        },
        "openapi_extra": extra,
    }


def _body(fields: Iterable[str], required: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of an object with these fields: the `required` ones, or at least one."""
    needed: dict[str, Any] = {"required": list(required)} if required else {"minProperties": 1}
    return {
        "type": "object",
        "properties": {name: _FIELDS[name] for name in fields},
        "additionalProperties": False,
        **needed,
    }


def _line_of(kind: str) -> dict[str, Any]:
    """Return the schema of a line with a command of this kind."""
    fields = tuple(KINDS[kind].fields)
    required = ["kind", *(("email", "name", "age") if kind == CREATE_USER else ("user_id",))]
    return {
        "type": "object",
        "properties": {"kind": {"const": kind}, **{name: _FIELDS[name] for name in fields}},
        "additionalProperties": False,
        "required": required + (["email"] if kind == CHANGE_EMAIL else []),
    }


CREATE: Final = _command(
    "create_user", CREATE_USER, "user_already_exists", required=("email", "name", "age")
)
UPDATE: Final = _command(
    "update_user", UPDATE_USER, media_types=("application/json", "application/merge-patch+json")
)
MOVE: Final = _command("change_email", CHANGE_EMAIL, "user_already_exists", required=("email",))
DELETE: Final = _command("delete_user", DELETE_USER)
ERASE: Final = _command("erase_user", ERASE_USER)
SHOW: Final[dict[str, Any]] = {
    "operation_id": "show_command",
    "responses": {
        200: _answer("The outcome, also that of a rejection."),
        202: _answer("The command is on the log and not decided yet.", "Retry-After"),
        **refusals(
            *("command_not_found", "invalid_command", "invalid_request"),
            *("request_not_in_time", "kafka_unavailable", "service_busy"),
        ),
    },
    "openapi_extra": {
        "parameters": [
            {"name": "command_id", "in": "path", "required": True, "schema": _KEY},
            *(
                {
                    "name": name,
                    "in": "query",
                    "description": "From the Location of the command: all three or none.",
                    "schema": {"type": "integer", "minimum": 0},
                }
                for name in ("partition", "offset", "answer_from")
            ),
        ]
    },
}
MANY: Final[dict[str, Any]] = {
    "operation_id": "send_commands",
    "responses": {
        200: {
            "description": "One line for each line that is not blank. Lines without an answer were "
            "not read; a line without a number says why.",
            "content": _content(_ref("Line"), _MANY),
        },
        **refusals("kafka_unavailable"),
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": _content({"oneOf": [_line_of(kind) for kind in KINDS]}, _MANY),
        }
    },
}
