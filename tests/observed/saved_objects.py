"""The saved objects for Kibana, and every index field that they name."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "scripts" / "kibana" / "users.ndjson"
# Not a field: Kibana's name for the documents themselves.
RECORDS = "___records___"
_NUMBERS = {"long", "integer", "double"}
_EXACT = {"keyword", "boolean", *_NUMBERS}
_ANY = {"keyword", "text", "boolean", "date", *_NUMBERS}
# What each use of a field requires: its types, and whether it needs doc values.
USES: Mapping[str, tuple[set[str], bool]] = {
    "date_histogram": ({"date"}, True),
    "terms": (_EXACT, True),
    "range": (_NUMBERS, True),
    "average": (_NUMBERS, True),
    "time field": ({"date"}, True),
    "sort": (_EXACT | {"date"}, True),
    "optionsListControl": ({"keyword", "boolean"}, True),
    "rangeSliderControl": (_NUMBERS, True),
    "column": (_ANY, False),
    "query": (_ANY, False),
}
_NAMED_IN_KQL = re.compile(r"([\w.]+)\s*(?::|[<>]=?)")


@dataclass(frozen=True)
class Use:
    """One place where an object names a field."""

    object_id: str
    field: str
    way: str


def saved_objects() -> list[dict[str, Any]]:
    """Return the objects of the file, in order."""
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def of_type(kind: str) -> list[dict[str, Any]]:
    """Return the objects of one type."""
    return [found for found in saved_objects() if found["type"] == kind]


def dashboard() -> dict[str, Any]:
    """Return the one dashboard."""
    (found,) = of_type("dashboard")
    return found


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels."""
    found: list[dict[str, Any]] = json.loads(dashboard()["attributes"]["panelsJSON"])
    return found


def controls() -> dict[str, dict[str, Any]]:
    """Return the dashboard's controls by id."""
    group = dashboard()["attributes"]["controlGroupInput"]
    found: dict[str, dict[str, Any]] = json.loads(group["panelsJSON"])
    return found


def layers(lens: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the layers of a Lens visualisation by id."""
    states = lens["attributes"]["state"]["datasourceStates"]
    found: dict[str, dict[str, Any]] = states["formBased"]["layers"]
    return found


def examples() -> list[str]:
    """Return the KQL examples in the text of the dashboard."""
    texts = [
        panel["embeddableConfig"]["savedVis"]["params"]["markdown"]
        for panel in panels()
        if panel["type"] == "visualization"
    ]
    return [kql for text in texts for kql in re.findall(r"`([^`]+)`", text)]


def uses() -> Iterator[Use]:
    """Yield every place where an object names a field."""
    for found in saved_objects():
        for kql in _queries(found["attributes"]):
            yield from (Use(found["id"], field, "query") for field in _NAMED_IN_KQL.findall(kql))
        yield from _fields_of(found)
    for control in controls().values():
        yield Use("controls", control["explicitInput"]["fieldName"], control["type"])
    for kql in examples():
        yield from (Use("examples", field, "query") for field in _NAMED_IN_KQL.findall(kql))


def _fields_of(found: Mapping[str, Any]) -> Iterator[Use]:
    attributes, name = found["attributes"], found["id"]
    if found["type"] == "index-pattern":
        yield Use(name, attributes["timeFieldName"], "time field")
    elif found["type"] == "lens":
        columns = [c for layer in layers(found).values() for c in layer["columns"].values()]
        for column in columns:
            if column["sourceField"] != RECORDS:
                yield Use(name, column["sourceField"], column["operationType"])
    elif found["type"] == "search":
        yield from (Use(name, field, "column") for field in attributes["columns"])
        yield from (Use(name, field, "sort") for field, _direction in attributes["sort"])


def _queries(attributes: Mapping[str, Any]) -> list[str]:
    source = json.loads(attributes.get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}"))
    state = attributes.get("state", {})
    return [part["query"]["query"] for part in (source, state) if "query" in part]
