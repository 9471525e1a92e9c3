"""Compiles an Avro schema to Python functions: the code one would write by hand for each record.

Coding records is the largest single cost of every hot loop, and fastavro walks the schema for each
record. Straight-line code for one schema takes a third of the time (Python 3.11, one core): 1.7
instead of 6.7 µs to encode an event, 1.8 instead of 4.1 µs to decode one. A record of another
release's schema is decoded in the same time; fastavro needs three to five times as long for it.

It handles ordinary records only. Everything else raises an error and is left to fastavro: decoding
a text of 64 bytes or more, a list of 64 items or more, a time before 2004 or after 2039, a missing
field whose default is not null, and broken bytes. Property tests check that both give the same
result, for other writers' schemas and for broken bytes too.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Any

_BITS = 0x7F
_MORE = 0x80
TIME = "timestamp-millis"
TIME_BYTES = 6
_LONG_BITS = 63
_SMALL = 1 << 13


class UnusualError(Exception):
    """The record is not ordinary: fastavro must handle it."""


# The first two bytes of a longer number, by its lowest 14 bits, and what may follow them.
_TWO_BYTES = tuple(bytes((low & _BITS | _MORE, low >> 7 | _MORE)) for low in range(1 << 14))
_LAST_BYTES = (
    *(bytes((high,)) for high in range(1 << 7)),
    *(bytes((high & _BITS | _MORE, high >> 7)) for high in range(1 << 7, 1 << 13)),
)
_TABLED = 1 << 26


def long(number: int) -> bytes:
    """Return an Avro int or long of 64 bits: zig-zag, seven bits a byte, lowest first."""
    # Offsets and sequence numbers: the tables take half the time of the loop.
    if _SMALL <= number < _TABLED:
        rest = number << 1
        return _TWO_BYTES[rest & 0x3FFF] + _LAST_BYTES[rest >> 14]
    if not -(1 << _LONG_BITS) <= number < 1 << _LONG_BITS:
        raise UnusualError
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > _BITS:
        encoded.append(rest & _BITS | _MORE)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def _more(value: bytes, first: int, at: int) -> tuple[int, int]:
    """Return a number of several bytes, still zig-zag, and where it ends."""
    number, shift = first & _BITS, 7
    while True:
        byte = value[at]
        at += 1
        number |= (byte & _BITS) << shift
        if byte < _MORE:
            return number, at
        shift += 7
        if shift >= _LONG_BITS:
            raise UnusualError


# Most times in one batch are equal.
_written_time = lru_cache(maxsize=1 << 8)(long)


@lru_cache(maxsize=1 << 8)
def _read_time(value: bytes) -> int:
    number, at = _more(value, value[0], 1) if value[0] & _MORE else (0, 0)
    if at != TIME_BYTES:
        raise UnusualError
    return (number >> 1) ^ -(number & 1)


def _unusual() -> bytes:
    raise UnusualError


_NAMES: dict[str, Any] = {
    "UnusualError": UnusualError,
    "SMALL": tuple(long(number) for number in range(_SMALL)),
    "long": long,
    "more": _more,
    "written_time": _written_time,
    "read_time": _read_time,
    "unusual": _unusual,
}


# What an encoder and a decoder raise for a record that fastavro must handle or refuse.
NOT_ENCODED = (UnusualError, KeyError, TypeError, AttributeError, IndexError)
NOT_DECODED = (UnusualError, IndexError, UnicodeDecodeError)


def encoder(text: str) -> Callable[[Any], bytes]:
    """Return a function from a record of the schema `text` to its Avro body.

    It raises one of `NOT_ENCODED` for a record that lacks a field or has one of another type.
    """
    lines = Lines()
    expression = _written(json.loads(text), "record", lines)
    return lines.function("record", f"return {expression}")


class Lines:
    """The body of one generated function."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._indent = 1
        self._names = (f"x{number}" for number in count())

    def name(self) -> str:
        """Return an unused name for a local variable."""
        return next(self._names)

    def add(self, line: str) -> None:
        """Add a line to the innermost open block."""
        self._lines.append("    " * self._indent + line)

    def block(self, line: str) -> "Lines":
        """Begin an indented block; used as a context manager."""
        self.add(line)
        return self

    def __enter__(self) -> None:
        self._indent += 1

    def __exit__(self, *_: object) -> None:
        self._indent -= 1

    def function(self, argument: str, last: str) -> Callable[[Any], Any]:
        """Compile the lines and `last` as a function of one argument."""
        self.add(last)
        source = "\n".join([f"def compiled({argument}):", *self._lines])
        names = dict(_NAMES)
        # As dataclasses and namedtuple do it. The source has names from our own schemas only: of
        # another writer's schema it has the order and the types.
        exec(source, names)  # noqa: S102
        compiled: Callable[[Any], Any] = names["compiled"]
        return compiled


def type_of(schema: Any) -> str:
    """Return the name of the type of `schema`, which is no union."""
    return str(schema["type"] if isinstance(schema, dict) else schema)


def kind_of(schema: Any) -> str:
    """Return the type of `schema`, or `TIME` for a time."""
    kind = type_of(schema)
    if kind == "long" and isinstance(schema, dict) and schema.get("logicalType") == TIME:
        return TIME
    return kind


def _written(schema: Any, value: str, lines: Lines) -> str:
    """Add the lines that must run first; return the expression for the bytes of `value`."""
    if isinstance(schema, list):
        return _written_union(schema, value, lines)
    kind, name = kind_of(schema), lines.name()
    if kind == "record":
        parts = [_written(f["type"], _field_of(value, f), lines) for f in schema["fields"]]
        return f"b''.join(({', '.join(parts)},))"
    if kind == "array":
        item = lines.name()
        lines.add(f"{name} = [SMALL[len({value})]] if {value} else []")
        with lines.block(f"for {item} in {value}:"):
            lines.add(f"{name}.append({_written(schema['items'], item, lines)})")
        return f"b''.join({name}) + b'\\0'"
    return {
        "string": f"SMALL[len({name} := {value}.encode())] + {name}",
        "bytes": f"SMALL[len({name} := {value})] + {name}",
        "boolean": f"(b'\\1' if {value} else b'\\0')",
        "int": f"(SMALL[{name}] if 0 <= ({name} := {value}) < {_SMALL} else long({name}))",
        "long": f"(SMALL[{name}] if 0 <= ({name} := {value}) < {_SMALL} else long({name}))",
        TIME: f"written_time({value})",
    }[kind]


def _field_of(record: str, field: Any) -> str:
    """Return the expression for a field; a field that may be null may be missing."""
    name, may_lack = repr(field["name"]), "default" in field and field["default"] is None
    return f"{record}.get({name})" if may_lack else f"{record}[{name}]"


def _written_union(branches: list[Any], value: str, lines: Lines) -> str:
    name, expression = lines.name(), "unusual()"
    lines.add(f"{name} = {value}")
    for number, branch in reversed(list(enumerate(branches))):
        types = {"null": "None", "string": "str", "long": "int", "int": "int", "bytes": "bytes"}
        wanted = types.get(kind_of(branch), "dict")
        if wanted == "None":
            expression = f"b'\\{2 * number:o}' if {name} is None else {expression}"
        else:
            body = _written(branch, name, lines)
            expression = (
                f"b'\\{2 * number:o}' + {body} if isinstance({name}, {wanted}) else {expression}"
            )
    return f"({expression})"
