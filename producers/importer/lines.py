"""Reads users from CSV or NDJSON line by line, in bounded memory; a bad line does not stop it.

Fields are yielded as they are in the file, for `schemas.fields.rules` to check. A line that cannot
be split into fields is yielded as a `BadLine`.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Final

import orjson

from producers.importer.csv_lines import read_csv
from producers.importer.source import RawLine, Source
from producers.importer.user_line import COLUMNS, BadLine, UserLine, not_utf8, too_long, unreadable

CSV: Final = "csv"
NDJSON: Final = "ndjson"

_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_KEYS = set(COLUMNS)
# `users export` and `users list --json` print more fields. These are ignored: the log assigns ids
# and versions, not a file.
_ACCEPTED = _KEYS | {"user_id", "version", "created_at", "updated_at", "age_group", "cursor"}


def read_users(source: Source, file_format: str | None) -> Iterator[UserLine | BadLine]:
    """Return the users of `source`; without `file_format` the first line decides the format.

    Blank lines before it are skipped. Raises `Misconfigured` (`unreadable_file`) at once if the
    file is empty, has a wrong header or is another kind of file, and `source.broken` if reading
    fails before the first line.
    """
    first = _first_line(source)
    content = (first[1] or b"").lstrip()
    if content.startswith(_OTHER_BOMS) or b"\0" in content:
        raise unreadable("the file is not UTF-8 text")
    if content.startswith(b"["):
        raise unreadable("the file is a JSON array, not one object a line")
    if file_format is None:
        file_format = NDJSON if content.startswith(b"{") else CSV
    if file_format == NDJSON:
        return _read_ndjson(chain([first], source))
    return read_csv(source, first[1])


def _first_line(source: Source) -> RawLine:
    first = next((line for line in source if line[1] is None or line[1].strip()), None)
    if source.broken is not None:
        raise source.broken
    if first is None:
        raise unreadable("the file is empty")
    return first


def _read_ndjson(lines: Iterator[RawLine]) -> Iterator[UserLine | BadLine]:
    for number, raw in lines:
        if raw is None:
            yield too_long(number)
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
            age = record.get("age")
            # Tools that know only one kind of number write 34 as 34.0.
            if isinstance(age, float) and age.is_integer():
                age = int(age)
            yield UserLine(number, record.get("email"), record.get("name"), age)
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
        return not_utf8(number)
    return BadLine(number, "malformed_line", "the line is not JSON")
