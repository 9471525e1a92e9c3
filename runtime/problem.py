"""Errors as problem documents (RFC 9457): the status, our code, a sentence and what to do next.

`schemas/error_codes.toml` is the table of codes and statuses. Like every message of ours, a
document has no e-mail address, name or age in it.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from schemas.error_codes import ErrorCode, default_status, error_codes
from schemas.errors import Rejected, RollbookError

MEDIA_TYPE: Final = "application/problem+json"
_TABLE: Final[Mapping[tuple[type, str], ErrorCode]] = {
    (row.error, row.code): row for row in error_codes()
}


def problem(error: RollbookError, **members: Any) -> dict[str, Any]:
    """Return the document for `error`, with further `members`, such as the current version."""
    row, status = _row(error), status_of(error)
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(error),
        "code": error.code,
        "next": _next(error, row),
    }
    if isinstance(error, Rejected):
        known = {"field": error.field, "user_id": error.user_id}
        document |= {name: value for name, value in known.items() if value is not None}
    return document | members


def status_of(error: RollbookError) -> int:
    """Return the HTTP status of `error`: its code's, or else its class's."""
    row = _row(error)
    return row.status if row else default_status(type(error))


def _next(error: RollbookError, row: ErrorCode | None) -> str:
    """Return what the caller can do: of the table, of the kind of error, or of the error itself."""
    if row and row.http_next:
        return row.http_next
    if status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        return "Send the request again after the time that Retry-After names."
    return error.next_step or (row.next_step if row else "")


def _row(error: RollbookError) -> ErrorCode | None:
    """Return what the table says about the error, None for a code of someone else's read model."""
    return next((row for c in type(error).__mro__ if (row := _TABLE.get((c, error.code)))), None)
