"""Reads users from CSV or NDJSON line by line, in constant memory; a bad line does not stop it.

Fields are yielded as they are in the file, for `schemas.rules` to check. A line that cannot be
split into fields is yielded as a `BadLine`. No line and no quoted field can make it hold more than
`RECORD_MAX_LINES` lines.
"""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

import orjson

from producers.importer.source import LINE_MAX_BYTES, RawLine, Source
from schemas.errors import Misconfigured

CSV: Final = "csv"
NDJSON: Final = "ndjson"

RECORD_MAX_LINES = 20

_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_COLUMNS = ("email", "name", "age")
_KEYS = set(_COLUMNS)
# `users export` and `users list --json` print more fields. These are ignored: the log assigns ids
# and versions, not a file.
_ACCEPTED = _KEYS | {"user_id", "version", "created_at", "updated_at", "age_group", "cursor"}
_FORMATS = (
    "give CSV whose first line names email, name and age, with commas between, "
    'or lines of JSON like {"email": "jane@example.com", "name": "Jane Doe", "age": 34}'
)
_AGE_MAX_DIGITS = 9


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


def read_users(source: Source, file_format: str | None) -> Iterator[UserLine | BadLine]:
    """Return the users of `source`; without `file_format` the first line decides the format.

    Raises `Misconfigured` (`unreadable_file`) at once if the file is empty, has a wrong header or
    is another kind of file, and `source.broken` if reading fails before the first line.
    """
    first = next(source, None)
    if source.broken is not None:
        raise source.broken
    if first is None:
        raise _unreadable("the file is empty")
    content = (first[1] or b"").lstrip()
    if content.startswith(_OTHER_BOMS) or b"\0" in content:
        raise _unreadable("the file is not UTF-8 text")
    if content.startswith(b"["):
        raise _unreadable("the file is a JSON array, not one object a line")
    if file_format is None:
        file_format = NDJSON if content.startswith(b"{") else CSV
    if file_format == NDJSON:
        return _read_ndjson(chain([first], source))
    feed = _CsvFeed(chain([first], source))
    rows = csv.reader(feed, strict=True)
    return _read_csv(feed, rows, _read_header(feed, rows))


def _unreadable(message: str) -> Misconfigured:
    return Misconfigured(message, code="unreadable_file", next_step=_FORMATS)


def _read_ndjson(lines: Iterator[RawLine]) -> Iterator[UserLine | BadLine]:
    for number, raw in lines:
        if raw is None:
            yield _too_long(number)
            continue
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError:
            if raw.strip():
                yield _not_json(number, raw)
            continue
        if not isinstance(record, dict):
            yield BadLine(number, "malformed_line", "the line is not a JSON object")
        elif record.keys() <= _KEYS or record.keys() <= _ACCEPTED:
            yield UserLine(number, record.get("email"), record.get("name"), record.get("age"))
        else:
            yield BadLine(
                number,
                "unknown_field",
                "the object has a field that is neither email, name, age nor one of an export",
            )


def _not_json(number: int, raw: bytes) -> BadLine:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return _not_utf8(number)
    return BadLine(number, "malformed_line", "the line is not JSON")


class _UnreadableError(Exception):
    """The record cannot be completed: a line is too long, or a quoted field is not closed."""


class _CsvFeed:
    """Passes lines to `csv.reader` and remembers those of the current record.

    A quote that is never closed must not consume the lines after it: `give_up` rejects only the
    first line of the record, and the others are read again.
    """

    def __init__(self, lines: Iterator[RawLine]) -> None:
        self._lines = lines
        self._again: deque[RawLine] = deque()
        self._taken: list[RawLine] = []
        self.not_utf8 = False

    def begin(self) -> None:
        """Start a record."""
        self._taken.clear()
        self.not_utf8 = False

    @property
    def number(self) -> int:
        """The first line of the current record."""
        return self._taken[0][0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        raw = line[1]
        if raw is None or len(self._taken) == RECORD_MAX_LINES:
            if self._taken:
                self._again.appendleft(line)
            else:
                self._taken.append(line)
            raise _UnreadableError
        self._taken.append(line)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.not_utf8 = True
            return raw.decode(errors="replace")

    def give_up(self) -> BadLine:
        """Return why the record's first line is bad; the other lines will be read again."""
        number, raw = self._taken[0]
        self._again.extendleft(reversed(self._taken[1:]))
        if raw is None:
            return _too_long(number)
        if self.not_utf8 and len(self._taken) == 1:
            return _not_utf8(number)
        if len(self._taken) > 1 or raw.count(b'"') % 2:
            return BadLine(number, "malformed_line", "a quoted field is not closed")
        return BadLine(number, "malformed_line", "the line is not CSV")


def _read_header(feed: _CsvFeed, rows: Iterator[list[str]]) -> list[int]:
    """Return the positions of email, name and age."""
    try:
        header = [column.strip().lower() for column in next(rows)]
    except (csv.Error, _UnreadableError, StopIteration):
        header = []
    if feed.not_utf8 or sorted(header) != sorted(_COLUMNS):
        raise _unreadable(
            "the first line of the CSV file does not name the columns email, name and age"
        )
    return [header.index(column) for column in _COLUMNS]


def _read_csv(
    feed: _CsvFeed, rows: Iterator[list[str]], order: list[int]
) -> Iterator[UserLine | BadLine]:
    email_at, name_at, age_at = order
    while True:
        feed.begin()
        try:
            row = next(rows)
        except StopIteration:
            return
        except (csv.Error, _UnreadableError):
            yield feed.give_up()
            continue
        if feed.not_utf8:
            yield _not_utf8(feed.number)
        elif len(row) == len(_COLUMNS):
            yield UserLine(feed.number, row[email_at], row[name_at], _csv_age(row[age_at]))
        elif row:
            yield BadLine(
                feed.number,
                "malformed_line",
                f"the line has {len(row)} fields instead of {len(_COLUMNS)}",
            )


def _csv_age(text: str) -> int | str:
    """Return a whole number, or the text unchanged, which the rules reject."""
    text = text.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        return text
    # Any number with more digits is out of range.
    return int(text[: _AGE_MAX_DIGITS + 1])


def _too_long(number: int) -> BadLine:
    return BadLine(number, "line_too_long", f"the line is longer than {LINE_MAX_BYTES} bytes")


def _not_utf8(number: int) -> BadLine:
    return BadLine(number, "not_utf8", "the line is not valid UTF-8")
