"""Reads the list of users who were erased since a backup, so that nobody comes back."""

from pathlib import Path

import orjson

from schemas.errors import Rejected
from schemas.identity import parse_user_id


def read_erasures(file: Path) -> set[str]:
    """Return the user ids in a file: one a line, or as `user_id` in an object of JSON.

    Raises `Rejected` (`invalid_erasures`) for any other line, which is named by its number. Empty
    lines are permitted.
    """
    found = set()
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                found.add(_user_id(line.strip()))
            except (Rejected, ValueError, LookupError, TypeError):
                raise Rejected(
                    f"line {number} of {file} is not a user id",
                    code="invalid_erasures",
                    next_step="a line is a user id, or an object of JSON with `user_id`",
                ) from None
    return found


def _user_id(line: bytes) -> str:
    text = orjson.loads(line)["user_id"] if line.startswith(b"{") else line.decode()
    return parse_user_id(text)
