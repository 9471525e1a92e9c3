"""The small KQL parser that other tests use."""

from typing import Any

import pytest

from tests.kql import translate


@pytest.mark.parametrize(
    ("kql", "query"),
    [
        ("name : jose", {"match": {"name": "jose"}}),
        ("name:jane doe", {"match": {"name": "jane doe"}}),
        ('email : "a@b.c"', {"match_phrase": {"email": "a@b.c"}}),
        ("name : sm*", {"query_string": {"fields": ["name"], "query": "sm*"}}),
        ("name : *", {"exists": {"field": "name"}}),
        ("age >= 30", {"range": {"age": {"gte": "30"}}}),
        (
            "jane doe",
            {"multi_match": {"type": "best_fields", "query": "jane doe", "lenient": True}},
        ),
        (
            "not a : 1 and (b : 2 or c : 3)",
            {
                "bool": {
                    "filter": [
                        {"bool": {"must_not": [{"match": {"a": "1"}}]}},
                        {
                            "bool": {
                                "should": [{"match": {"b": "2"}}, {"match": {"c": "3"}}],
                                "minimum_should_match": 1,
                            }
                        },
                    ]
                }
            },
        ),
    ],
)
def test_kql_is_translated_as_kibana_does(kql: str, query: dict[str, Any]) -> None:
    assert translate(kql) == query


@pytest.mark.parametrize(
    "text", ["", "name :", "(name : a", "name : a )", 'name : "a', "a : b and"]
)
def test_invalid_kql_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not KQL"):
        translate(text)
