from typing import Any

import pytest

from projectors.elasticsearch.search.cursor import Place, read_cursor, write_cursor
from projectors.elasticsearch.search.request import AGE_GROUPS, Search
from projectors.elasticsearch.search.text import Typos
from schemas.errors import Rejected
from schemas.fields.rules import AGE_MAX_YEARS, age_group

PLACE = Place("mOmEnT_-==", Typos.ONE, [8.0, "jane doe", "018bcfe5", 7])


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "!?"},
        {"text": "a" * 301},
        {"min_age": 40, "max_age": 39},
        {"age_groups": ("teen", "baby")},
        {"sort": "shoe size"},
        {"reverse": True},
    ],
)
def test_a_search_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    """Before anything is sent, and with a next step."""
    with pytest.raises(Rejected) as refused:
        Search(**fields)
    assert refused.value.code == "invalid_query"
    assert refused.value.next_step


def test_the_age_groups_are_those_of_the_rules() -> None:
    """None is missing, and none is empty."""
    assert {age_group(age) for age in range(AGE_MAX_YEARS + 1)} == set(AGE_GROUPS)


def test_without_a_text_all_users_within_the_limits_are_found() -> None:
    """A blank is not a text; limits that exclude no user are left out."""
    assert Search(" ", max_age=19).body(Typos.NONE)["query"] == {
        "bool": {"filter": [{"range": {"age": {"gte": 0, "lte": 19}}}]}
    }
    assert Search().body(Typos.NONE)["query"] == {"bool": {"filter": []}}


def test_every_order_ends_with_the_user_id_and_can_be_reversed() -> None:
    """So a page begins exactly where the previous one ended, even among equals."""
    assert Search("jane").order()[-1] == {"user_id": "asc"}
    assert Search(sort="created").order() == [{"created_at": "desc"}, {"user_id": "asc"}]
    reversed_order = Search(sort="created", reverse=True).order()
    assert reversed_order == [{"created_at": "asc"}, {"user_id": "desc"}]


def test_a_cursor_is_read_as_it_was_written() -> None:
    """It is opaque and has no characters that a shell would interpret."""
    cursor = write_cursor(PLACE, Search("jane"))
    assert read_cursor(cursor, Search("jane", highlight=True, facets=True)) == PLACE
    assert set(cursor) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=.")


def test_a_cursor_continues_only_its_own_search() -> None:
    """With another text, limit or order its position would be meaningless."""
    cursor = write_cursor(PLACE, Search("jane", min_age=30))
    for other in Search("jan", min_age=30), Search("jane"), Search("jane", min_age=30, sort="age"):
        with pytest.raises(Rejected) as refused:
            read_cursor(cursor, other)
        assert refused.value.code == "invalid_cursor"


@pytest.mark.parametrize(
    "text", ["", "x", "é", "a.b", "a.W10", "a.e30", "\ud800", ".W10", "a.W1", "." * 9]
)
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_cursor(text, Search("jane"))
    assert refused.value.code == "invalid_cursor"


def test_a_cursor_with_a_lost_or_changed_character_is_refused() -> None:
    """Elasticsearch would answer it with a server error."""
    cursor = write_cursor(PLACE, Search("jane"))
    for at in range(len(cursor)):
        for broken in (cursor[:at], cursor[at + 1 :], f"{cursor[:at]}~{cursor[at + 1 :]}"):
            with pytest.raises(Rejected):
                read_cursor(broken, Search("jane"))
