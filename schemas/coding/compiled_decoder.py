"""Compiles a decoder for each schema that is found on the log, resolved to ours.

See `schemas.coding.compiled`. Most of a log was written by other releases, some of them with other
schemas than ours, and stays that way: an old record is never written again.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from schemas.coding.compiled import TIME, TIME_BYTES, Lines, UnusualError, kind_of, type_of

_SIMPLE = {"null", "string", "bytes", "boolean", "int", "long", "record", "array"}
# Ten times the size of our largest schema. Compiling a schema takes time in proportion to it, and
# whoever can register schemas must not be able to stop a handler with one.
_MOST_CHARACTERS = 30_000


# Each restore of a partition needs the same ones.
@lru_cache(maxsize=64)
def decoder(writer: str, reader: str, start: int) -> Callable[[bytes], Any]:
    """Return a function from bytes to the record of the schema `writer` that begins at `start`.

    The record is resolved to the schema `reader` by the rules of Avro. The function raises one of
    `NOT_DECODED` for bytes that are not ordinary, or broken; for all bytes if `writer` is not an
    ordinary schema: with types or references of another kind, or much larger than ours.
    """
    if len(writer) > _MOST_CHARACTERS:
        return _not_decoded
    lines = Lines()
    lines.add(f"at = {start}")
    try:
        expression = _read(json.loads(writer), json.loads(reader), lines)
        lines.add("if at != len(value): raise UnusualError")
        return lines.function("value", f"return {expression}")
    except Exception:  # noqa: BLE001 - a foreign schema can fail in any way
        return _not_decoded


def _not_decoded(_value: bytes) -> Any:
    raise UnusualError


def _read(writer: Any, reader: Any, lines: Lines) -> str:
    """Add the lines that read a value of the schema `writer` at `at` and advance.

    Return the expression for the value as the schema `reader` has it.
    """
    if isinstance(writer, list):
        return _read_union(writer, reader, lines)
    resolved = _resolved(writer, reader)
    if resolved is None:
        raise UnusualError
    kind = kind_of(writer)
    if kind == "record":
        return _read_record(writer, resolved, lines)
    if kind == "array":
        return _read_array(writer["items"], resolved["items"], lines)
    return "None" if kind == "null" else _read_plain(kind, lines)


def _read_record(writer: Any, reader: Any, lines: Lines) -> str:
    """A field that only the writer has is read and dropped; one that it lacks has its default."""
    lacking = {field["name"]: field for field in reader["fields"]}
    parts = []
    for field in writer["fields"]:
        ours = lacking.pop(field["name"], None)
        value = _read(field["type"], field["type"] if ours is None else ours["type"], lines)
        if ours is not None:
            parts.append(f"{field['name']!r}: {value}")
    parts += [f"{name!r}: {_default(field)}" for name, field in lacking.items()]
    return f"{{{', '.join(parts)}}}"


def _default(field: Any) -> str:
    default = field["default"]
    if default is not None and default != [] and not isinstance(default, str | int):
        raise UnusualError
    return repr(default)


def _read_plain(kind: str, lines: Lines) -> str:
    name = lines.name()
    if kind == TIME:
        lines.add(f"{name} = read_time(value[at:at + {TIME_BYTES}]); at += {TIME_BYTES}")
        return name
    lines.add(f"{name} = value[at]; at += 1")
    if kind == "boolean":
        lines.add(f"if {name} > 1: raise UnusualError")
        return f"{name} == 1"
    if kind in {"int", "long"}:
        lines.add(f"if {name} & 0x80: {name}, at = more(value, {name}, at)")
        return f"({name} >> 1) ^ -({name} & 1)"
    # The low bit marks a negative length, the high bit one of 64 or more.
    lines.add(f"if {name} & 0x81: raise UnusualError")
    decode = {"string": ".decode()", "bytes": ""}[kind]
    lines.add(f"end = at + ({name} >> 1); {name} = value[at:end]{decode}; at = end")
    return name


def _read_array(writer: Any, reader: Any, lines: Lines) -> str:
    name, size = lines.name(), lines.name()
    lines.add(f"{name} = []; {size} = value[at]; at += 1")
    with lines.block(f"while {size}:"):
        lines.add(f"if {size} & 0x81: raise UnusualError")
        with lines.block(f"for _ in range({size} >> 1):"):
            lines.add(f"{name}.append({_read(writer, reader, lines)})")
        lines.add(f"{size} = value[at]; at += 1")
    return name


def _read_union(branches: list[Any], reader: Any, lines: Lines) -> str:
    name, branch = lines.name(), lines.name()
    lines.add(f"{branch} = value[at]; at += 1")
    for number, schema in enumerate(branches):
        with lines.block(f"{'elif' if number else 'if'} {branch} == {2 * number}:"):
            if _resolved(schema, reader) is None:
                lines.add("raise UnusualError")
            else:
                lines.add(f"{name} = {_read(schema, reader, lines)}")
    lines.add("else: raise UnusualError")
    return name


def _resolved(writer: Any, reader: Any) -> Any:
    """Return what a value of the schema `writer` resolves to: the first match in a union, or None.

    Raises `UnusualError` for what only fastavro resolves: aliases, and texts read as bytes.
    """
    branches = reader if isinstance(reader, list) else [reader]
    return next((branch for branch in branches if _matches(writer, branch)), None)


def _matches(writer: Any, reader: Any) -> bool:
    if isinstance(writer, list) or isinstance(reader, list):
        return True
    kinds = type_of(writer), type_of(reader)
    if kinds == ("array", "array"):
        return _matches(writer["items"], reader["items"])
    if kinds == ("record", "record"):
        if any("aliases" in one for one in (reader, *reader["fields"])):
            raise UnusualError
        return bool(_short_name(writer) == _short_name(reader))
    if set(kinds) == {"string", "bytes"} or not set(kinds) <= _SIMPLE:
        raise UnusualError
    return kinds[0] == kinds[1] or kinds == ("int", "long")


def _short_name(schema: Any) -> str:
    return str(schema["name"]).rpartition(".")[2]
