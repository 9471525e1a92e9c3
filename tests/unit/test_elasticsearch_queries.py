import json

import pytest

from projectors.elasticsearch.queries import search_query
from schemas.errors import Rejected


@pytest.mark.parametrize("text", ["", "  ", "!?", "\ud800", "a" * 301, "a " * 21])
def test_a_text_without_words_or_without_end_is_refused(text: str) -> None:
    """There is a limit on everything, and nothing to find is no search for all."""
    with pytest.raises(Rejected) as refused:
        search_query(text)
    assert refused.value.code == "invalid_query"


def test_accents_and_case_make_the_same_query_but_for_the_order_of_equals() -> None:
    """What is typed is folded like what is stored."""
    plain, accented = search_query("jose"), search_query("JOSÉ")
    must = [query["dis_max"]["queries"][0]["bool"]["must"] for query in (plain, accented)]
    assert must[0] == must[1]


def test_only_an_address_is_looked_up_as_one() -> None:
    """The whole address comes first, compared as uniqueness compares."""
    assert '{"term": {"email": "Jane@Example.com"}}' in json.dumps(
        search_query(" Jane@Example.com ")
    )
    assert '"email":' not in json.dumps(search_query("jane"))


def test_typos_are_looked_for_only_when_asked() -> None:
    """They cost several times the rest."""
    assert "fuzziness" not in json.dumps(search_query("jane doe"))
    assert "fuzziness" in json.dumps(search_query("jane doe", typos=True))


def test_only_the_last_word_may_be_a_beginning() -> None:
    """The others are complete: somebody typed a space after them."""
    first, last = search_query("jane do")["dis_max"]["queries"][0]["bool"]["must"]
    assert "prefix" not in json.dumps(first)
    assert "match_bool_prefix" in json.dumps(last)
