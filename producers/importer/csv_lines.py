"""Reads users from CSV as people have it: with commas, semicolons or tabs, and other columns.

What is unambiguous is accepted: the separator that the header shows or `sep=` names, columns in any
order, columns that users do not have, blank lines, rows of separators alone, and 34.0 as an age. No
quoted field can make it hold more than `RECORD_MAX_LINES` lines.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from producers.importer.source import RawLine, Source
from producers.importer.user_line import COLUMNS, BadLine, UserLine, not_utf8, too_long, unreadable

RECORD_MAX_LINES: Final = 20

_SEPARATORS: Final = ",;\t|"
# Excel writes this line, and hides it.
_SEPARATOR_LINE: Final = re.compile(rf'"?sep=([{_SEPARATORS}])"?', re.IGNORECASE)
# With another separator than the comma, a decimal comma is as clear as a point.
_AGE: Final = re.compile(r"([+-]?)([0-9]+)(?:\.0+)?")
_AGE_WITH_COMMA: Final = re.compile(r"([+-]?)([0-9]+)(?:[.,]0+)?")
_AGE_MAX_DIGITS: Final = 9


def read_csv(source: Source, first: bytes | None) -> Iterator[UserLine | BadLine]:
    """Return the users after `first`, the first line of `source` that is not blank.

    Raises `Misconfigured` (`unreadable_file`) at once if there is no header.
    """
    separator, line = None, _header_text(first)
    named = _SEPARATOR_LINE.fullmatch(line)
    if named:
        separator = named[1]
        line = _header_text(next((raw for _, raw in source if raw is None or raw.strip()), b""))
    separator, header = _split_header(line, separator)
    feed = _CsvFeed(source)
    rows = csv.reader(feed, delimiter=separator, strict=True)
    return _read_rows(feed, rows, header, _AGE if separator == "," else _AGE_WITH_COMMA)


def _header_text(raw: bytes | None) -> str:
    try:
        return (raw or b"").decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise unreadable("the first line of the CSV file is not UTF-8") from None


def _split_header(line: str, separator: str | None) -> tuple[str, list[str]]:
    """Return the separator and the names of the columns."""
    found: list[tuple[int, str, list[str]]] = []
    for candidate in separator or _SEPARATORS:
        try:
            row = next(csv.reader([line], delimiter=candidate, strict=True), [])
        except csv.Error:
            continue
        names = [name.strip().lower() for name in row]
        found.append((len(set(COLUMNS) & set(names)), candidate, names))
    known, separator, names = max(found, key=lambda one: one[0], default=(0, ",", []))
    if not known:
        raise unreadable(
            "the first line of the CSV file names none of the columns email, name and age"
        )
    while not names[-1]:  # separators at the end of the line
        names.pop()
    for column in COLUMNS:
        if names.count(column) != 1:
            problem = "no column" if column not in names else "more than one column"
            raise unreadable(f"the first line of the CSV file has {problem} called {column}")
    return separator, names


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
            return too_long(number)
        if self.not_utf8 and len(self._taken) == 1:
            return not_utf8(number)
        if len(self._taken) > 1 or raw.count(b'"') % 2:
            return BadLine(number, "malformed_line", "a quoted field is not closed")
        return BadLine(number, "malformed_line", "the line is not CSV")


def _read_rows(
    feed: _CsvFeed, rows: Iterator[list[str]], header: list[str], age: re.Pattern[str]
) -> Iterator[UserLine | BadLine]:
    email_at, name_at, age_at = (header.index(column) for column in COLUMNS)
    width = len(header)
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
            yield not_utf8(feed.number)
        elif not any(row):
            continue  # spreadsheets write empty rows as separators alone
        elif len(row) == width or (len(row) > width and not any(row[width:])):
            yield UserLine(feed.number, row[email_at], row[name_at], _age(row[age_at], age))
        else:
            yield BadLine(
                feed.number,
                "malformed_line",
                f"the line has {len(row)} fields instead of {width}",
            )


def _age(text: str, pattern: re.Pattern[str]) -> int | str:
    """Return a whole number, or the text unchanged, which the rules reject."""
    text = text.strip()
    found = pattern.fullmatch(text)
    if found is None:
        return text
    # Any number with more digits is out of range.
    return int(found[1] + found[2][: _AGE_MAX_DIGITS + 1])
