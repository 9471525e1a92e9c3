"""Every error code with its meaning, because programs and runbooks depend on the codes.

The table is `error_codes.toml`. `docs/reference/errors.md` is generated from it, and
`tests/unit/docs/test_error_codes.py` fails if a raised code is missing from it, or a listed one is
never raised. The class of an error determines its exit code and, unless the table says otherwise,
the HTTP status of the problem document that the services answer with.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from schemas import errors
from schemas.errors import RollbookError

# 422: the caller must change the request. 503: the same request may succeed later. 500: whoever
# runs the service must act.
_STATUSES: Final = {
    errors.Rejected: 422,
    errors.NotInTime: 504,
    errors.Unavailable: 503,
    errors.Forbidden: 503,
}
_OTHER_STATUS: Final = 500


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One code: the class of errors that carry it, what it means and what to do next.

    `http_next` says the latter to a caller of the services; '' if the error itself says it well.
    """

    code: str
    error: type[RollbookError]
    meaning: str
    next_step: str
    status: int
    http_next: str


@cache
def error_codes() -> tuple[ErrorCode, ...]:
    """Return the whole table, in its order. A code may appear once in each class."""
    text = files("schemas").joinpath("error_codes.toml").read_text(encoding="utf-8")
    return tuple(
        ErrorCode(
            code,
            error := getattr(errors, kind),
            row["meaning"],
            row["next"],
            row.get("status", default_status(error)),
            row.get("http_next", ""),
        )
        for kind, rows in tomllib.loads(text).items()
        for code, row in rows.items()
    )


def default_status(error: type[RollbookError]) -> int:
    """Return the HTTP status of errors of this class whose code has none of its own."""
    return next((_STATUSES[kind] for kind in error.__mro__ if kind in _STATUSES), _OTHER_STATUS)
