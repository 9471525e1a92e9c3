"""Reads users from CSV or NDJSON, a line at a time: constant memory, and a bad line stops nothing.

Fields come out as they stand, to be checked by `schemas.rules`; what cannot be read as fields comes
out as a `BadLine`. Neither a line nor a quoted field can make it hold more than a few lines.
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
# What `users export` and `users list --json` print besides. It is dealt anew: an id and a version
# are the log's to give, not a file's.
_PASSED_OVER = _KEYS | {"user_id", "version", "created_at", "updated_at", "age_group", "cursor"}
_FORMATS = (
    "give CSV whose first line names email, name and age, with commas between, "
    'or lines of JSON like {"email": "jane@example.com", "name": "Jane Doe", "age": 34}'
)
_AGE_MAX_DIGITS = 9


class UserLine(NamedTuple):
    """The fields of one user as the file has them; `number` is its first line, from 1."""

    number: int
    email: object
    name: object
    age: object


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no user and why; nothing of its content."""

    number: int
    code: str
    message: str


def read_users(source: Source, file_format: str | None) -> Iterator[UserLine | BadLine]:
    """Return the users of `source`; with no `file_format` the first line tells which it is.

    Raises `Misconfigured` (`unreadable_file`) at once if there is no line, no right header, or if
    it is another kind of file, and what `source.broken` says if it breaks before its first line.
    """
    first = next(source, None)
    if source.broken is not None:
        raise source.broken
    if first is None:
        raise _unreadable("the file is empty")
    content = (first[1] or b"").lstrip()
    if content.startswith(_OTHER_BOMS) or b"\0" in content:
        raise _unreadable("the file is no UTF-8 text")
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
                yield _no_json(number, raw)
            continue
        if not isinstance(record, dict):
            yield BadLine(number, "malformed_line", "the line is no JSON object")
        elif record.keys() <= _KEYS or record.keys() <= _PASSED_OVER:
            yield UserLine(number, record.get("email"), record.get("name"), record.get("age"))
        else:
            yield BadLine(
                number,
                "unknown_field",
                "the object has a field that is neither email, name, age nor one of an export",
            )


def _no_json(number: int, raw: bytes) -> BadLine:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return _not_utf8(number)
    return BadLine(number, "malformed_line", "the line is no JSON")


class _UnreadableError(Exception):
    """The record cannot go on: its line is too long, or a quoted field does not end."""


class _CsvFeed:
    """Gives lines to `csv.reader` and remembers those of the record at hand.

    A quote that is never closed must not swallow the lines after it: `give_up` rejects the first
    line of the record and has the others read again.
    """

    def __init__(self, lines: Iterator[RawLine]) -> None:
        self._lines = lines
        self._again: deque[RawLine] = deque()
        self._taken: list[RawLine] = []
        self.not_utf8 = False

    def begin(self) -> None:
        """Begin a record."""
        self._taken.clear()
        self.not_utf8 = False

    @property
    def number(self) -> int:
        """The first line of the record at hand."""
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
        """Return why the record's first line is bad; its other lines are read again."""
        number, raw = self._taken[0]
        self._again.extendleft(reversed(self._taken[1:]))
        if raw is None:
            return _too_long(number)
        if self.not_utf8 and len(self._taken) == 1:
            return _not_utf8(number)
        if len(self._taken) > 1 or raw.count(b'"') % 2:
            return BadLine(number, "malformed_line", "a quoted field is not closed")
        return BadLine(number, "malformed_line", "the line is no CSV")


def _read_header(feed: _CsvFeed, rows: Iterator[list[str]]) -> list[int]:
    """Return where email, name and age stand."""
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
    """Return a whole number, or the text as it is for the rules to refuse."""
    text = text.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        return text
    # As many digits as these are out of range, whatever they say.
    return int(text[: _AGE_MAX_DIGITS + 1])


def _too_long(number: int) -> BadLine:
    return BadLine(number, "line_too_long", f"the line is longer than {LINE_MAX_BYTES} bytes")


def _not_utf8(number: int) -> BadLine:
    return BadLine(number, "not_utf8", "the line is not valid UTF-8")
