"""The saved objects for Kibana, as far as they can be checked without Kibana."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from projectors.elasticsearch.index.indexes import USERS_ALIAS
from projectors.elasticsearch.index.mapping import USER_FIELDS
from tests.observed.kql import translate
from tests.observed.saved_objects import (
    FILE,
    USES,
    controls,
    dashboard,
    examples,
    layers,
    of_type,
    panels,
    saved_objects,
    uses,
)

# The attributes that Kibana 9 accepts per type, from its schemas (dashboard v2, search v5) or, for
# types without a schema, from exports. It refuses a dashboard or a search with any other.
ATTRIBUTES = {
    "index-pattern": "allowHidden fieldAttrs fieldFormatMap fields name runtimeFieldMap "
    "sourceFilters timeFieldName title",
    "lens": "description state title visualizationType",
    "search": "columns description grid hideChart isTextBasedQuery kibanaSavedObjectMeta sort "
    "timeRestore title",
    "dashboard": "controlGroupInput description kibanaSavedObjectMeta optionsJSON panelsJSON "
    "refreshInterval timeFrom timeRestore timeTo title version",
}
# The newest in exports of Kibana 8.17 to 9.0. Kibana accepts objects older than itself.
VERSIONS = {"index-pattern": "8.0.0", "lens": "8.9.0", "search": "10.5.0", "dashboard": "10.2.0"}
GRID_COLUMNS = 48


def flattened(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each field of a mapping by its full name, subfields included."""
    for name, field in fields.items():
        yield before + name, field
        yield from flattened(field.get("fields", {}), f"{before}{name}.")


@pytest.mark.parametrize("found", saved_objects(), ids=lambda found: found["id"])
def test_an_object_looks_like_an_export_of_kibana(found: dict[str, Any]) -> None:
    """With a type, a version and attributes that Kibana 9 accepts."""
    assert set(found) == {
        *("attributes", "coreMigrationVersion", "id", "managed", "references", "type"),
        "typeMigrationVersion",
    }
    assert found["coreMigrationVersion"] == "8.8.0"
    assert found["typeMigrationVersion"] == VERSIONS[found["type"]]
    assert set(found["attributes"]) == set(ATTRIBUTES[found["type"]].split())
    assert found["attributes"]["title"]


def test_each_line_is_one_object_formatted_like_an_export() -> None:
    """With sorted keys and no spaces, so that a diff shows only real changes."""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        as_exported = json.dumps(
            json.loads(line), sort_keys=True, ensure_ascii=False, separators=(",", ":")
        )
        assert line == as_exported


def test_ids_are_unique_and_references_stay_within_the_file() -> None:
    """The file can be imported into an empty Kibana."""
    known = [(found["type"], found["id"]) for found in saved_objects()]
    assert len(set(known)) == len(known)
    for found in saved_objects():
        names = [reference["name"] for reference in found["references"]]
        assert len(set(names)) == len(names), found["id"]
        for reference in found["references"]:
            assert (reference["type"], reference["id"]) in known, reference


def test_the_data_view_is_the_filtered_alias() -> None:
    """The index of a version would show markers and disappear after the next swap."""
    (view,) = of_type("index-pattern")
    assert view["attributes"]["title"] == USERS_ALIAS


def test_every_field_exists_with_a_type_that_suits_its_use() -> None:
    """A renamed field would show up as an error in a panel."""
    mapping = dict(flattened(USER_FIELDS))
    for use in uses():
        assert use.field in mapping, use
        types, by_document = USES[use.way]
        field = mapping[use.field]
        assert field["type"] in types, use
        assert not by_document or field.get("doc_values", True), use
        assert use.way != "query" or field.get("index", True), use


@pytest.mark.parametrize("lens", of_type("lens"), ids=lambda found: found["id"])
def test_a_visualisation_refers_to_its_own_columns(lens: dict[str, Any]) -> None:
    """Axes, slices and sort orders name columns; a layer names its data view."""
    (data,) = layers(lens).items()
    name, layer = data
    assert set(layer["columnOrder"]) == set(layer["columns"])
    assert [r["name"] for r in lens["references"]] == [f"indexpattern-datasource-layer-{name}"]
    (drawn,) = lens["attributes"]["state"]["visualization"]["layers"]
    assert drawn["layerId"] == name
    if lens["attributes"]["visualizationType"] == "lnsXY":
        buckets, metrics = [drawn["xAccessor"]], drawn["accessors"]
    else:
        buckets, metrics = drawn["primaryGroups"], drawn["metrics"]
    assert {*buckets, *metrics} == set(layer["columns"])
    for column in buckets:
        assert layer["columns"][column]["isBucketed"]
        order = layer["columns"][column]["params"].get("orderBy")
        assert order is None or order["columnId"] in metrics
    for column in metrics:
        assert not layer["columns"][column]["isBucketed"]


def test_a_panel_refers_to_an_object_of_its_type() -> None:
    """A panel without its object would be an error on the dashboard."""
    references = {reference["name"]: reference for reference in dashboard()["references"]}
    expected = set()
    for panel in panels():
        name = panel["panelIndex"]
        assert panel["gridData"]["i"] == name
        if "panelRefName" in panel:
            assert references[f"{name}:{panel['panelRefName']}"]["type"] == panel["type"]
            expected.add(f"{name}:{panel['panelRefName']}")
    for name, control in controls().items():
        view = references[f"controlGroup_{name}:{control['type'].removesuffix('Control')}DataView"]
        assert control["explicitInput"]["id"] == name
        assert control["explicitInput"]["dataViewId"] == view["id"]
        expected.add(view["name"])
    assert set(references) == expected


def test_panels_do_not_overlap_and_stay_within_the_grid() -> None:
    """Kibana would move them, and its next export would differ."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        grid = panel["gridData"]
        assert grid["x"] + grid["w"] <= GRID_COLUMNS
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["panelIndex"]
        taken |= cells


def test_the_examples_on_the_dashboard_are_valid_kql() -> None:
    """They can be pasted into the query bar."""
    assert len(examples()) >= 4
    for kql in examples():
        translate(kql)


@pytest.mark.parametrize(
    "text", ["", "name :", "(name : a", "name : a )", 'name : "a', "a : b and"]
)
def test_invalid_kql_is_refused(text: str) -> None:
    """What valid KQL finds is checked on a real index, against docs/searching.md."""
    with pytest.raises(ValueError, match=r"expected|not KQL"):
        translate(text)
