"""Every error code with its meaning, because programs and runbooks depend on the codes.

The table is `schemas/error_codes.toml`. `docs/reference/errors.md` is generated from it, and
`tests/unit/docs/test_error_codes.py` fails if a raised code is missing from it, or a listed one is
never raised.
"""

import tomllib
from dataclasses import dataclass
from importlib.resources import files

from schemas import errors
from schemas.errors import RollbookError


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One code: the class of errors that carry it, what it means and what to do next."""

    code: str
    error: type[RollbookError]
    meaning: str
    next_step: str


def error_codes() -> tuple[ErrorCode, ...]:
    """Return the whole table, in its order. A code may appear once in each class."""
    text = files("schemas").joinpath("error_codes.toml").read_text(encoding="utf-8")
    return tuple(
        ErrorCode(code, getattr(errors, kind), row["meaning"], row["next"])
        for kind, rows in tomllib.loads(text).items()
        for code, row in rows.items()
    )
