"""What a request asks for is read by one description, from a query string as from a body."""

from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from projectors.service.api.parameters import Parameter, body_schema, read_body, read_query
from schemas.errors import Rejected

PARAMETERS = (
    Parameter("age", {"type": "integer", "minimum": 0, "maximum": 150}, "An age.", default=7),
    Parameter("flag", {"type": "boolean"}, "A flag.", default=False),
    Parameter(
        "group",
        {"type": "array", "items": {"type": "string", "enum": ["teen", "adult"]}, "maxItems": 2},
        "Groups.",
        default=(),
    ),
    Parameter("text", {"type": "string", "maxLength": 5}, "A text."),
    Parameter("seconds", {"type": "number", "minimum": 0, "maximum": 9}, "Seconds.", default=1.0),
    Parameter("at", {"type": "string", "maxLength": 30}, "A time.", datetime.fromisoformat),
)
DEFAULTS = {"age": 7, "flag": False, "group": (), "text": None, "seconds": 1.0, "at": None}


def from_query(query: str) -> dict[str, Any]:
    return read_query(PARAMETERS, parse_qsl(query, keep_blank_values=True))


def test_what_is_left_out_has_its_default() -> None:
    assert from_query("") == read_body(PARAMETERS, {}) == DEFAULTS


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("age=0", {"age": 0}),
        ("age=150", {"age": 150}),
        ("flag=true", {"flag": True}),
        ("group=teen&group=adult", {"group": ["teen", "adult"]}),
        ("text=", {"text": ""}),
        ("text=12345", {"text": "12345"}),
        ("seconds=0.5", {"seconds": 0.5}),
    ],
)
def test_a_query_string_and_a_body_mean_the_same(query: str, body: dict[str, Any]) -> None:
    assert from_query(query) == read_body(PARAMETERS, body) == DEFAULTS | body


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("years=3", "there is no parameter years"),
        ("jane%40example.com=", "there is no parameter"),
        ("age=3&age=4", "age is given 2 times"),
        ("age=-1", "age is not a whole number from 0 to 150"),
        ("age=151", "age is not a whole number from 0 to 150"),
        ("age=3.0", "age is not a whole number from 0 to 150"),
        ("age=", "age is not a whole number from 0 to 150"),
        ("age=" + "9" * 5000, "age is not a whole number from 0 to 150"),
        ("age=٣", "age is not a whole number from 0 to 150"),
        ("flag=yes", "flag is neither true nor false"),
        ("group=baby", "group is not one of teen, adult"),
        ("group=teen&group=teen&group=teen", "group has more than 2 entries"),
        ("text=123456", "text is longer than 5 characters"),
        ("seconds=nan", "seconds is not a number from 0 to 9"),
        ("seconds=inf", "seconds is not a number from 0 to 9"),
        ("at=soon", "at: Invalid isoformat string: 'soon'"),
    ],
)
def test_a_query_string_is_refused_with_a_sentence(query: str, message: str) -> None:
    with pytest.raises(Rejected) as refused:
        from_query(query)
    assert (str(refused.value), refused.value.code) == (message, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        {"age": "3"},
        {"age": True},
        {"age": 3.0},
        {"age": None},
        {"flag": 1},
        {"flag": "true"},
        {"group": "teen"},
        {"group": [1]},
        {"text": 5},
        {"at": 5},
        {"seconds": "1"},
        {"other": 1},
    ],
    ids=str,
)
def test_a_body_has_the_types_that_it_must_have(body: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as refused:
        read_body(PARAMETERS, body)
    assert refused.value.code == "invalid_request"


def test_the_document_describes_what_is_checked() -> None:
    schema = body_schema(PARAMETERS)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["age"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 150,
        "default": 7,
        "description": "An age.",
    }
