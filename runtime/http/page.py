"""A page that shows the OpenAPI document to people: no script, nothing from elsewhere."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from starlette.responses import HTMLResponse, Response

JsonSchema = Mapping[str, Any]
_LARGEST: Final = 2**63 - 1
_LIMITS: Final = {
    "minimum": "from {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "minProperties": "at least {} of the fields",
    "default": "default {}",
}


def page_response(document: Mapping[str, Any]) -> Response:
    """Return the page of an OpenAPI document."""
    style = files("runtime.http").joinpath("templates", "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = _template().render(document=document, style=style, operations=list(_by_tag(document)))
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("runtime.http"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": _prose, "kind": kind_of, "fields": fields_of}
    return environment.get_template("page.html")


def _by_tag(document: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Yield each tag with its (method, path, operation), in the order of the document."""
    found: dict[str, list[tuple[str, str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["Other"])[0]
            found.setdefault(tag, []).append((method.upper(), path, operation))
    yield from found.items()


def _prose(text: str) -> Any:
    """Return text with `code` and empty lines as HTML; everything else is escaped."""
    from markupsafe import Markup, escape

    paragraphs = [str(escape(one)).replace("\n", "<br>") for one in text.split("\n\n")]
    html = "".join(f"<p>{one}</p>" for one in paragraphs)
    # Its text is escaped above.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html))  # noqa: S704


def fields_of(schema: JsonSchema) -> list[tuple[str, JsonSchema, bool]]:
    """Return the (name, schema, whether it is required) of each field of an object."""
    required = schema.get("required", ())
    return [(name, one, name in required) for name, one in schema.get("properties", {}).items()]


def kind_of(schema: JsonSchema) -> str:
    """Return the type and the limits of a value in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(kind_of(one) for one in schema[several]))
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if kind == "array":
        kind = f"list of {kind_of(schema.get('items', {}))}"
    details = [str(schema["format"])] if "format" in schema else []
    # A bound that only says how numbers are stored tells people nothing.
    limits = {name: value for name, value in schema.items() if value != _LARGEST}
    details += [text.format(limits[name]) for name, text in _LIMITS.items() if name in limits]
    details += [f"`{schema['pattern']}`"] if "pattern" in schema else []
    return ", ".join([kind, *details])
