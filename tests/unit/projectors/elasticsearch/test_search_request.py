from typing import Any

import pytest

from projectors.elasticsearch.search.cursor import Place, read_cursor, write_cursor
from projectors.elasticsearch.search.request import AGE_GROUPS, Search
from projectors.elasticsearch.search.text import Slips
from schemas.errors import Rejected
from schemas.rules import AGE_MAX_YEARS, age_group

PLACE = Place("mOmEnT_-==", Slips.ONE, [8.0, "jane doe", "018bcfe5", 7])


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "!?"},
        {"text": "a" * 301},
        {"min_age": 40, "max_age": 39},
        {"age_groups": ("teen", "baby")},
        {"sort": "shoe size"},
        {"reverse": True},
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any]) -> None:
    """Before anything is sent, with what to do about it."""
    with pytest.raises(Rejected) as refused:
        Search(**asked)
    assert refused.value.code == "invalid_query"
    assert refused.value.next_step


def test_the_age_groups_are_those_of_the_rules() -> None:
    """None is missing and none is empty."""
    assert {age_group(age) for age in range(AGE_MAX_YEARS + 1)} == set(AGE_GROUPS)


def test_without_a_text_everybody_is_asked_for_within_the_limits() -> None:
    """A blank is no text; limits that limit nothing are not asked."""
    assert Search(" ", max_age=19).body(Slips.NONE)["query"] == {
        "bool": {"filter": [{"range": {"age": {"gte": 0, "lte": 19}}}]}
    }
    assert Search().body(Slips.NONE)["query"] == {"bool": {"filter": []}}


def test_every_order_ends_with_the_users_id_and_can_be_turned_round() -> None:
    """So a page begins where the one before ended, whatever is equal."""
    assert Search("jane").order()[-1] == {"user_id": "asc"}
    assert Search(sort="created").order() == [{"created_at": "desc"}, {"user_id": "asc"}]
    turned = Search(sort="created", reverse=True).order()
    assert turned == [{"created_at": "asc"}, {"user_id": "desc"}]


def test_a_cursor_is_read_as_it_was_written() -> None:
    """Opaque, and of letters that a shell leaves alone."""
    cursor = write_cursor(PLACE, Search("jane"))
    assert read_cursor(cursor, Search("jane", highlight=True, facets=True)) == PLACE
    assert set(cursor) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=.")


def test_a_cursor_goes_on_with_its_own_search_only() -> None:
    """With another text, limit or order the place would mean nothing."""
    cursor = write_cursor(PLACE, Search("jane", min_age=30))
    for other in Search("jan", min_age=30), Search("jane"), Search("jane", min_age=30, sort="age"):
        with pytest.raises(Rejected) as refused:
            read_cursor(cursor, other)
        assert refused.value.code == "invalid_cursor"


@pytest.mark.parametrize(
    "text", ["", "x", "é", "a.b", "a.W10", "a.e30", "\ud800", ".W10", "a.W1", "." * 9]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Whatever is typed."""
    with pytest.raises(Rejected) as refused:
        read_cursor(text, Search("jane"))
    assert refused.value.code == "invalid_cursor"


def test_a_cursor_that_lost_or_changed_a_letter_is_refused() -> None:
    """Elasticsearch would fail over it as if it were broken itself."""
    cursor = write_cursor(PLACE, Search("jane"))
    for at in range(len(cursor)):
        for broken in (cursor[:at], cursor[at + 1 :], f"{cursor[:at]}~{cursor[at + 1 :]}"):
            with pytest.raises(Rejected):
                read_cursor(broken, Search("jane"))
