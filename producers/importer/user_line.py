"""What a line of an imported file becomes: a user, or a bad line with the reason."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from producers.importer.source import LINE_MAX_BYTES
from schemas.errors import Misconfigured

COLUMNS: Final = ("email", "name", "age")
_FORMATS: Final = (
    "give CSV whose first line names email, name and age, with commas, semicolons or tabs between, "
    'or lines of JSON like {"email": "jane@example.com", "name": "Jane Doe", "age": 34}'
)


class UserLine(NamedTuple):
    """The fields of one user as they are in the file; `number` is the first line, from 1."""

    number: int
    email: object
    name: object
    age: object


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a user, and why; it repeats nothing of the content."""

    number: int
    code: str
    message: str


def unreadable(message: str) -> Misconfigured:
    """Return the error for a file of another kind; `message` repeats nothing of its content."""
    return Misconfigured(message, code="unreadable_file", next_step=_FORMATS)


def too_long(number: int) -> BadLine:
    """Return the error for a line of more than `LINE_MAX_BYTES`."""
    return BadLine(number, "line_too_long", f"the line is longer than {LINE_MAX_BYTES} bytes")


def not_utf8(number: int) -> BadLine:
    """Return the error for a line in another encoding."""
    return BadLine(number, "not_utf8", "the line is not valid UTF-8")
