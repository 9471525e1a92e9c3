"""Entity tags, links to the next page, and ids of events."""

import pytest
from starlette.requests import Request

from projectors.service.api.answers import matches, next_link
from projectors.service.event_ids import read_event_id, write_event_id
from schemas.errors import Rejected

# As Kafka's client writes it, with characters that have other meanings in addresses.
TOPIC_ID = "7Qx/+abcRFe9d1X0zYwQ2g"


@pytest.mark.parametrize(
    ("header", "is_known"),
    [
        (None, False),
        ("", False),
        ('"3"', True),
        ('W/"3"', True),
        ('"1", "3"', True),
        ('"1","2"', False),
        ("*", True),
        ("3", False),
        ('"33"', False),
    ],
)
def test_a_version_that_the_caller_has_is_not_sent_again(
    header: str | None, *, is_known: bool
) -> None:
    assert matches(header, '"3"') is is_known


def get(query: str, method: str = "GET") -> Request:
    scope = {"type": "http", "method": method, "path": "/users", "headers": []}
    return Request(scope | {"query_string": query.encode(), "server": ("host", 80)})


def test_the_next_page_has_the_same_filters_and_waits_for_nothing() -> None:
    request = get("age_group=teen&age_group=adult&text=j%C3%B6&cursor=old&after=3:1&timeout=5")
    assert next_link(request, "cursor", "a+b") == {
        "link": '</users?age_group=teen&age_group=adult&text=j%C3%B6&cursor=a%2Bb>; rel="next"'
    }


def test_the_last_page_has_no_next_one() -> None:
    assert next_link(get(""), "cursor", None) == {}
    assert next_link(get("", "POST"), "cursor", "c") == {}


def test_an_event_id_says_where_every_partition_continues() -> None:
    offsets = {0: 17, 1: 0, 2: 4_000_000_000}
    text = write_event_id(TOPIC_ID, offsets)
    assert text == "7Qx_-a.0:17,1:0,2:4000000000"
    assert read_event_id(text, TOPIC_ID, offsets) == offsets


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not the id of an event"),
        ("0:17,1:0,2:5", "not the id of an event"),
        ("7Qx_-a.0:17,1:0,2:-1", "not the id of an event"),
        ("7Qx_-a.0:17,1:0,2:5 ", "not the id of an event"),
        ("7Qx_-b.0:17,1:0,2:5", "re-created"),
        ("7Qx_-a.0:17,1:0", "another user"),
        ("7Qx_-a.0:17,1:0,2:5,3:9", "another user"),
    ],
)
def test_another_event_id_is_refused(text: str, why: str) -> None:
    with pytest.raises(Rejected, match=why) as refused:
        read_event_id(text, TOPIC_ID, range(3))
    assert refused.value.code == "invalid_event_id"
