"""The parameters of queries: one description for the check, the defaults and the OpenAPI document.

A query string and a JSON body have the same parameters. An unknown one is refused, because a typo
in a filter would otherwise silently find everybody.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import Rejected

_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_PLAIN_NAME: Final = re.compile(r"[\w-]{1,40}", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, with its JSON Schema.

    A pattern in the schema is not checked here: `convert` and the query refuse more. `convert`
    turns a valid value into what the query takes; it raises `Rejected`, or ValueError with a
    sentence. `example` is for the OpenAPI document.
    """

    name: str
    schema: Mapping[str, Any]
    description: str
    convert: Callable[[Any], Any] = lambda value: value
    default: Any = None
    example: Any = None
    required: bool = False

    @property
    def is_list(self) -> bool:
        """Whether a query string may repeat it."""
        return bool(self.schema["type"] == "array")

    def read(self, value: object) -> Any:
        """Return a value of a body as the query takes it. Raises `Rejected`."""
        if refusal := _refusal(value, self.schema):
            raise _invalid(f"{self.name} {refusal}")
        try:
            return self.convert(value)
        except ValueError as error:
            raise _invalid(f"{self.name}: {error}") from None

    def read_texts(self, texts: Sequence[str]) -> Any:
        """Return the value of a query string. Raises `Rejected`."""
        if self.is_list:
            return self.read([_typed(text, self.schema["items"]) for text in texts])
        if len(texts) > 1:
            raise _invalid(f"{self.name} is given {len(texts)} times")
        return self.read(_typed(texts[0], self.schema))

    def as_openapi(self) -> dict[str, Any]:
        """Return the parameter of a query string, for the OpenAPI document."""
        schema = dict(self.schema)
        if self.default is not None and not self.is_list:
            schema["default"] = self.default
        described = {
            "name": self.name,
            "in": "query",
            "schema": schema,
            "description": self.description,
            "required": self.required,
        }
        return described if self.example is None else described | {"example": self.example}


def read_query(parameters: Iterable[Parameter], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return name → value of all `parameters`, of the pairs in a query string.

    Raises `Rejected` (`invalid_request`) for one that is unknown, repeated or has a wrong value.
    """
    texts: dict[str, list[str]] = {}
    for name, text in given:
        texts.setdefault(name, []).append(text)
    return _read(parameters, texts, Parameter.read_texts)


def read_body(parameters: Iterable[Parameter], body: Mapping[str, object]) -> dict[str, Any]:
    """Return name → value of all `parameters`, of a JSON object. Raises as `read_query` does."""
    return _read(parameters, body, Parameter.read)


def body_schema(parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the JSON Schema of a body with these parameters."""
    properties = {
        one.name: {**one.as_openapi()["schema"], "description": one.description}
        for one in parameters
    }
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [one.name for one in parameters if one.required]
    return schema | {"required": required} if required else schema


def _read(
    parameters: Iterable[Parameter],
    given: Mapping[str, Any],
    read: Callable[[Parameter, Any], Any],
) -> dict[str, Any]:
    known = {one.name: one for one in parameters}
    for name in given:
        if name not in known:
            shown = f" {name}" if _PLAIN_NAME.fullmatch(name) else ""  # not a text in its place
            choice = ", ".join(sorted(known))
            raise _invalid(f"there is no parameter{shown}", f"choose from {choice}")
    for name, one in known.items():
        if one.required and name not in given:
            raise _invalid(f"{name} is missing")
    return {
        name: read(one, given[name]) if name in given else one.default
        for name, one in known.items()
    }


def _typed(text: str, schema: Mapping[str, Any]) -> object:
    """Return the value that a text of a query string stands for; the text itself if none."""
    if schema["type"] == "integer" and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if schema["type"] == "number":
        try:
            return float(text)
        except ValueError:
            return text
    return _BOOLEANS.get(text, text) if schema["type"] == "boolean" else text


def _refusal(value: object, schema: Mapping[str, Any]) -> str:
    """Return what is wrong with a value; '' if nothing."""
    return _CHECKS[schema["type"]](value, schema)


def _wrong_list(value: object, schema: Mapping[str, Any]) -> str:
    if not isinstance(value, list):
        return "is not a list"
    if len(value) > schema["maxItems"]:
        return f"has more than {schema['maxItems']} entries"
    return next(filter(None, (_refusal(one, schema["items"]) for one in value)), "")


def _wrong_flag(value: object, _schema: Mapping[str, Any]) -> str:
    return "" if isinstance(value, bool) else "is neither true nor false"


def _wrong_text(value: object, schema: Mapping[str, Any]) -> str:
    if not isinstance(value, str):
        return "is not a text"
    if "enum" in schema:
        return "" if value in schema["enum"] else f"is not one of {', '.join(schema['enum'])}"
    most = schema["maxLength"]
    return f"is longer than {most} characters" if len(value) > most else ""


def _wrong_number(value: object, schema: Mapping[str, Any]) -> str:
    types: tuple[type, ...] = (int,) if schema["type"] == "integer" else (int, float)
    least, most = schema["minimum"], schema.get("maximum")
    fits = isinstance(value, types) and not isinstance(value, bool)
    if fits and least <= value and (most is None or value <= most):
        return ""
    what = "a whole number" if schema["type"] == "integer" else "a number"
    return f"is not {what} from {least}" + ("" if most is None else f" to {most}")


_CHECKS: Final[dict[str, Callable[[object, Mapping[str, Any]], str]]] = {
    "array": _wrong_list,
    "boolean": _wrong_flag,
    "integer": _wrong_number,
    "number": _wrong_number,
    "string": _wrong_text,
}


def _invalid(message: str, next_step: str = "the page at / describes the parameters") -> Rejected:
    return Rejected(message, code="invalid_request", next_step=next_step)
