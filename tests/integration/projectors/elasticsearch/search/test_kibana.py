"""The requests that Kibana would send for the dashboard, sent to a real index."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from scripts.stack.native.local import LocalStack
from tests.integration.projectors.elasticsearch.search.search_index import Index, index_of
from tests.integration.projectors.elasticsearch.search.search_page import people
from tests.observed.kql import translate
from tests.observed.saved_objects import controls, examples, layers, of_type

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def index(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of the people of docs/searching.md, and of Jane Roe, who was deleted."""
    with index_of(stack, tmp_path_factory.mktemp("kibana"), people()) as filled:
        yield filled


def buckets(index: Index, aggregation: dict[str, Any]) -> dict[Any, int]:
    """Return key → count, without zeros."""
    answer = index.search({"size": 0, "aggs": {"panel": aggregation}})
    found = answer["aggregations"]["panel"]["buckets"]
    return {bucket["key"]: bucket["doc_count"] for bucket in found if bucket["doc_count"]}


def aggregation_of(column: dict[str, Any]) -> dict[str, Any]:
    """Return the aggregation that Lens requests for a column with buckets."""
    field = column["sourceField"]
    if column["operationType"] == "date_histogram":
        return {"date_histogram": {"field": field, "fixed_interval": "1d", "min_doc_count": 0}}
    if column["operationType"] == "range":
        return {"histogram": {"field": field, "interval": 1, "min_doc_count": 0}}
    assert column["operationType"] == "terms"
    size = column["params"]["size"]
    return {"terms": {"field": field, "size": size, "order": {"_count": "desc"}}}


EXPECTED = {
    "rollbook-registrations": Counter(p.created_at // DAY_MS * DAY_MS for p in people()),
    "rollbook-ages": Counter(p.age for p in people()),
    "rollbook-age-groups": Counter(
        "teen" if p.age < 20 else "senior" if p.age >= 65 else "adult" for p in people()
    ),
}


@pytest.mark.parametrize("lens", of_type("lens"), ids=lambda found: found["id"])
def test_a_visualisation_counts_every_user_once(lens: dict[str, Any], index: Index) -> None:
    """Deleted users are not counted."""
    (layer,) = layers(lens).values()
    (column,) = [column for column in layer["columns"].values() if column["isBucketed"]]
    assert buckets(index, aggregation_of(column)) == EXPECTED[lens["id"]]


def test_the_newest_users_come_first_with_all_columns(index: Index) -> None:
    """Requested as Discover does: sorted, within a time range, with formatted fields."""
    (search,) = of_type("search")
    (view,) = of_type("index-pattern")
    columns, time = search["attributes"]["columns"], view["attributes"]["timeFieldName"]
    newest = sorted(people(), key=lambda person: -person.created_at)[:5]
    answer = index.search(
        {
            "size": 5,
            "sort": [{f: {"order": d}} for f, d in search["attributes"]["sort"]],
            "query": {"range": {time: {"gte": "2025-12-31T22:00:00.000Z", "lte": "now+100y"}}},
            "fields": [*columns, {"field": time, "format": "strict_date_optional_time"}],
            "_source": False,
        }
    )
    found = [hit["fields"] for hit in answer["hits"]["hits"]]
    assert [fields["name"] for fields in found] == [[person.name] for person in newest]
    for fields, person in zip(found, newest, strict=True):
        assert set(fields) == {*columns, time}
        shown = datetime.fromisoformat(fields[time][0])
        assert shown == datetime.fromtimestamp(person.created_at / 1000, UTC)


def test_the_controls_offer_the_existing_values(index: Index) -> None:
    """A list requests terms, a slider the minimum and maximum."""
    for control in controls().values():
        field = control["explicitInput"]["fieldName"]
        if control["type"] == "optionsListControl":
            offered = buckets(index, {"terms": {"field": field}})
            assert set(offered) == {"teen", "adult", "senior"}
        else:
            aggregations = {"ends": {"stats": {"field": field}}}
            ends = index.search({"size": 0, "aggs": aggregations})["aggregations"]["ends"]
            assert (ends["min"], ends["max"]) == (17, 72)


@pytest.mark.parametrize("kql", examples())
def test_an_example_on_the_dashboard_finds_someone(kql: str, index: Index) -> None:
    assert index.found_by(translate(kql))


def test_text_without_a_field_finds_people(index: Index) -> None:
    """The first thing that people type into the query bar."""
    assert index.found_by(translate("lukasz")) == {"Łukasz Żółć"}
