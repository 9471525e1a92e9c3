"""What the OpenAPI document says of each route, as arguments of its decorator."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import Response

from projectors.service.api.answers import EVENT_STREAM, NDJSON
from projectors.service.api.asking import AFTER
from projectors.service.api.parameters import Parameter, body_schema
from projectors.service.api.schemas import Schema, ref
from runtime.http import refusals

Route = dict[str, Any]

JSON: Final = "application/json"
_QUERY: Final = (
    "The method QUERY (RFC 10008) with the same body does the same. Send it or POST where the text "
    "must not appear in the logs of proxies."
)
_WAITS: Final = ("invalid_token", "not_visible_in_time", "kafka_unavailable")
_POSTGRES: Final = ("postgres_unavailable", "read_model_missing", "no_answer")
_ELASTICSEARCH: Final = ("elasticsearch_unavailable", "read_model_missing", "no_answer")
_KAFKA: Final = ("kafka_unavailable", "registry_unavailable", "no_answer")
_ETAG: Final = {"description": "The user's version.", "schema": {"type": "string"}}
_LINK: Final = {"description": 'The next page: rel="next".', "schema": {"type": "string"}}
_LOCATION: Final = {"description": "The job.", "schema": {"type": "string"}}


def get_user(parameters: Sequence[Parameter]) -> Route:
    """GET /users/{user_id}."""
    codes = ("invalid_command", "user_not_found", "version_not_found", "user_not_yet_created")
    route = _route(
        "get_user",
        "Get a user",
        ref("User"),
        (*codes, "user_deleted", "user_erased", *_POSTGRES),
        parameters=parameters,
        description="As the user is now, or was at a version or a time.",
        headers={"ETag": _ETAG},
    )
    route["responses"][304] = {"description": "The caller has this version (`If-None-Match`)."}
    return _with_header(route, "If-None-Match", '"3"', "Answer 304 if the user has this version.")


def list_users(parameters: Sequence[Parameter]) -> Route:
    """GET /users."""
    return _route(
        "list_users",
        "List users by age, then id",
        ref("UserList"),
        ("invalid_cursor", *_POSTGRES),
        parameters=parameters,
        headers={"Link": _LINK},
    )


def history(parameters: Sequence[Parameter]) -> Route:
    """GET /users/{user_id}/history."""
    return _route(
        "history",
        "Everything that happened to a user",
        ref("History"),
        ("invalid_command", "user_not_found", *_POSTGRES),
        parameters=parameters,
        description="Oldest first. Of an erased user only the erasure is left.",
        headers={"Link": _LINK},
    )


def summary(parameters: Sequence[Parameter]) -> Route:
    """GET /summary."""
    return _route(
        "summary", "Figures over all users", ref("Summary"), _POSTGRES, parameters=parameters
    )


def creations(parameters: Sequence[Parameter]) -> Route:
    """GET /creations."""
    return _route(
        "creations",
        "Count the users created in each of the last minutes",
        ref("Creations"),
        _ELASTICSEARCH,
        parameters=parameters,
        description="The oldest minute first. Users who are deleted by now are not counted.",
    )


def search(parameters: Sequence[Parameter], body: Sequence[Parameter] = ()) -> Route:
    """GET and POST /search."""
    return _route(
        "search_with_body" if body else "search",
        "Find users by name or e-mail address",
        ref("SearchResult"),
        ("invalid_query", "invalid_cursor", "cursor_expired", *_ELASTICSEARCH),
        parameters=parameters,
        body=body,
        description="Every word must match, as a whole or as a prefix; accents, typos and the "
        f"order of words do not matter. {_QUERY}",
        headers={"Link": _LINK},
    )


def suggest(parameters: Sequence[Parameter], body: Sequence[Parameter] = ()) -> Route:
    """GET and POST /suggest."""
    return _route(
        "suggest_with_body" if body else "suggest",
        "Suggest users while a name or address is typed",
        ref("Suggestions"),
        ("invalid_query", *_ELASTICSEARCH),
        parameters=parameters,
        body=body,
        description=_QUERY,
    )


def events(parameters: Sequence[Parameter]) -> Route:
    """GET /events."""
    route = _route(
        "events",
        "The log of events as it grows",
        {"type": "string"},
        ("invalid_event_id", "invalid_command", *_KAFKA),
        parameters=parameters,
        media_type=EVENT_STREAM,
        description="Server-sent events, or lines of JSON with `Accept: application/x-ndjson`. "
        "In order within a partition, and so for each user. The id of an event says where the "
        "stream continues after it, so a reader that sends it as `Last-Event-ID` misses nothing "
        "and gets nothing twice.",
    )
    route["responses"][200]["content"][NDJSON] = {"schema": {"type": "string"}}
    return _with_header(route, "Last-Event-ID", None, "Continue after this event.")


def read_models() -> Route:
    """GET /read-models."""
    return _route("read_models", "Read models, their versions and lag", ref("ReadModels"), _KAFKA)


def operation(name: str) -> Route:
    """Any operation on a read model."""
    summaries = {
        "rebuild": "Build a new version of a read model from the log",
        "compare": "Compare a version with the log, user by user",
        "swap": "Make a version live",
        "rollback": "Make the previously live version live again",
        "drop": "Remove a version that is not live, and its data",
    }
    return _starts_job(name, summaries[name], ("unknown_read_model", "version_not_found"))


def verify(parameters: Sequence[Parameter]) -> Route:
    """POST /verify."""
    return _starts_job("verify", "Check that all topics and read models agree", (), parameters)


def dead_letters(parameters: Sequence[Parameter]) -> Route:
    """GET /dead-letters."""
    return _route(
        "dead_letters", "List the dead letters", ref("DeadLetters"), _KAFKA, parameters=parameters
    )


def dead_letter(parameters: Sequence[Parameter]) -> Route:
    """GET /dead-letters/{letter}."""
    return _route(
        "dead_letter",
        "Show a dead letter and the record at its place",
        ref("DeadLetterRecord"),
        ("dead_letter_not_found", *_KAFKA),
        parameters=parameters,
    )


def settle(name: str, parameters: Sequence[Parameter]) -> Route:
    """POST /dead-letters/retry and discard."""
    summaries = {
        "retry": "Read dead letters again, and apply or send their records",
        "discard": "Settle dead letters without applying their records",
    }
    return _starts_job(name, summaries[name], (), parameters)


def jobs() -> Route:
    """GET /jobs."""
    return _route("jobs", "The latest jobs of this instance", ref("Jobs"), ())


def job() -> Route:
    """GET /jobs/{job}."""
    return _route("job", "A job", ref("Job"), ("job_not_found",))


def stop_job() -> Route:
    """DELETE /jobs/{job}."""
    return _route("stop_job", "Stop a job", ref("Job"), ("job_not_found",), status=202)


def job_lines() -> Route:
    """GET /jobs/{job}/lines."""
    route = _route(
        "job_lines",
        "The lines of a job as they come",
        {"type": "string"},
        ("job_not_found", "invalid_event_id"),
        media_type=NDJSON,
        description="Lines of JSON, or server-sent events with `Accept: text/event-stream`: "
        "`Last-Event-ID` continues after a line, and the event `end` has the job at its end.",
    )
    route["responses"][200]["content"][EVENT_STREAM] = {"schema": {"type": "string"}}
    return _with_header(route, "Last-Event-ID", "17", "Continue after this line.")


def _starts_job(
    name: str, summary: str, codes: Sequence[str], parameters: Sequence[Parameter] = ()
) -> Route:
    return _route(
        name,
        summary,
        ref("Job"),
        ("job_running", *codes),
        body=parameters,
        status=202,
        description="Starts a job; one runs at a time.",
        headers={"Location": _LOCATION},
    )


def _route(
    name: str,
    summary: str,
    answer: Schema,
    codes: Sequence[str],
    *,
    parameters: Sequence[Parameter] = (),
    body: Sequence[Parameter] = (),
    status: int = 200,
    media_type: str = JSON,
    description: str = "",
    headers: Schema | None = None,
) -> Route:
    extra: Schema = {"parameters": [one.as_openapi() for one in parameters]}
    if AFTER in parameters:
        codes = (*codes, *_WAITS)
    if body:
        extra["requestBody"] = {"content": {JSON: {"schema": body_schema(body)}}}
    responses = refusals(*codes)
    responses[status] = {
        "description": summary,
        "content": {media_type: {"schema": answer}},
        "headers": headers or {},
    }
    route = {
        "name": name,
        "summary": summary,
        "description": description or None,
        "status_code": status,
        "response_class": Response,
        "responses": responses,
        "openapi_extra": extra,
    }
    if AFTER in parameters:
        return _with_header(route, "Rollbook-After", "3:17", AFTER.description)
    return route


def _with_header(route: Route, name: str, example: str | None, description: str) -> Route:
    described = {"name": name, "in": "header", "schema": {"type": "string"}}
    described |= {"description": description}
    route["openapi_extra"]["parameters"].append(
        described | ({"example": example} if example else {})
    )
    return route
