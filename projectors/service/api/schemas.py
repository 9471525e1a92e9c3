"""JSON Schemas of the answers, for the OpenAPI document."""

from typing import Any, Final

from projectors.elasticsearch.search.request import AGE_GROUPS
from projectors.service.job_states import STATES
from schemas.fields.rules import AGE_MAX_YEARS, COMMAND_ID_MAX_CHARACTERS

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_FLAG: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
_VERSION: Final[Schema] = {"type": "integer", "minimum": 1}
_ANY: Final[Schema] = {}


def ref(name: str) -> Schema:
    """Return a reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(item: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(fields: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "properties": fields | (optional or {}),
        "required": list(fields),
    }


def _page(name: str, item: Schema, following: Schema, optional: Schema | None = None) -> Schema:
    return _object({name: many(item), "next": _or_null(following)}, optional)


_USER: Final[Schema] = {
    "user_id": _UUID,
    "email": {"type": "string"},
    "name": _TEXT,
    "age": {"type": "integer", "minimum": 0, "maximum": AGE_MAX_YEARS},
    "age_group": {"type": "string", "enum": list(AGE_GROUPS)},
    "created_at": _TIME,
    "updated_at": _TIME,
    "version": _VERSION,
}
_COUNTS: Final[Schema] = {"type": "object", "additionalProperties": _COUNT}
_CHANGE: Final[Schema] = _object({"field": _TEXT, "before": _ANY, "after": _ANY})
_PARTITION: Final[Schema] = {
    "read_model": _TEXT,
    "version": _or_null(_VERSION),
    "live": _FLAG,
    "partition": _COUNT,
    "state": _TEXT,
    "position": _or_null(_COUNT),
    "end": _COUNT,
    "lag": _or_null(_COUNT),
    "applied_at": _or_null(_TIME),
}
_STORED_VERSION: Final[Schema] = {
    "number": _VERSION,
    "state": {"type": "string", "enum": ["building", "ready"]},
    "live": _FLAG,
    "created_at": _TIME,
    "live_since": _or_null(_TIME),
    "paused_at": _or_null(_TIME),
    "lag_events": _or_null(_COUNT),
    "lag_seconds": _or_null({"type": "number", "minimum": 0}),
    "partitions": many(ref("PartitionStatus")),
}
_LETTER: Final[Schema] = {
    "letter": _TEXT,
    "topic": _TEXT,
    "partition": _COUNT,
    "offset": _COUNT,
    "reader": _TEXT,
    "error": _TEXT,
    "message": _TEXT,
    "occurred_at": _TIME,
    "settled": _or_null(_TEXT),
    "settled_at": _or_null(_TIME),
}
_JOB: Final[Schema] = {
    "job": _TEXT,
    "operation": _TEXT,
    "arguments": {"type": "object"},
    "state": {"type": "string", "enum": list(STATES)},
    "started_at": _TIME,
    "started_by": _or_null(_TEXT),
    "ended_at": _or_null(_TIME),
    "last_line": _or_null(ref("JobLine")),
    "result": _or_null({"type": "object"}),
    "error": _or_null(ref("Error")),
}

SCHEMAS: Final[Schema] = {
    "User": _object(_USER),
    "ListedUser": _object(_USER | {"cursor": _TEXT}),
    "UserList": _page("users", ref("ListedUser"), _TEXT),
    "FoundUser": _object(
        _USER,
        {"score": {"type": "number"}, "highlights": {"type": "object"}},
    ),
    "Facets": _object(
        {
            "total": _COUNT,
            "age_groups": _COUNTS,
            "ages": _COUNTS,
            "email_domains": _COUNTS,
            "other_domains": _COUNT,
        }
    ),
    "SearchResult": _page("users", ref("FoundUser"), _TEXT, {"facets": ref("Facets")}),
    "Suggestions": _object(
        {"users": many(_object({"user_id": _UUID, "name": _TEXT, "email": _TEXT}))}
    ),
    "HistoryEvent": _object(
        {
            "user_id": _UUID,
            "version": _VERSION,
            "occurred_at": _TIME,
            "type": _TEXT,
            "command_id": {"type": "string", "maxLength": COMMAND_ID_MAX_CHARACTERS},
            "seq": _COUNT,
            "issued_by": _or_null(_TEXT),
            "changes": many(_CHANGE),
        }
    ),
    "History": _page("events", ref("HistoryEvent"), _VERSION),
    "Summary": _object(
        {
            "total_users": _COUNT,
            "average_age": _or_null({"type": "number"}),
            "users_by_age_group": _COUNTS,
            "last_updated": _or_null(_TIME),
        }
    ),
    "Creations": _object({"per_minute": many(_COUNT)}),
    "PartitionStatus": _object(_PARTITION),
    "ReadModelVersion": _object(_STORED_VERSION),
    "Error": _object({"code": _TEXT, "message": _TEXT, "next": _TEXT}),
    "ReadModel": _object(
        {
            "read_model": _TEXT,
            "error": _or_null(ref("Error")),
            "versions": many(ref("ReadModelVersion")),
        }
    ),
    "ReadModels": _object({"read_models": many(ref("ReadModel"))}),
    "DeadLetter": _object(_LETTER),
    "DeadLetters": _object(
        {
            "dead_letters": many(ref("DeadLetter")),
            "found": _COUNT,
            "open": _COUNT,
            "unreadable": _COUNT,
        }
    ),
    "DeadLetterRecord": _object(
        {"letter": _TEXT, "in_log": _TEXT, "letters": many(ref("DeadLetter"))},
        {
            "key": _or_null(_TEXT),
            "value_bytes": _or_null(_COUNT),
            "schema_id": _or_null(_COUNT),
            "written_at": _TEXT,
            "error": _TEXT,
            "record": {"type": "object"},
        },
    ),
    "JobLine": _object({"text": _TEXT}),
    "Job": _object(_JOB),
    "Jobs": _object({"jobs": many(ref("Job"))}),
}
