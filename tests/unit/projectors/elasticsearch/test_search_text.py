import json
from typing import Any

import pytest

from projectors.elasticsearch.search.text import Slips, most_slips, spellings, text_query
from schemas.errors import Rejected


def must(text: str, slips: Slips = Slips.NONE) -> list[Any]:
    """Return what has to be found, word by word."""
    (found,) = text_query(text, slips)["bool"]["must"]
    words: list[Any] = found["bool"]["should"]
    assert found["bool"]["minimum_should_match"] == len(words)
    return words


@pytest.mark.parametrize("text", ["", "  ", "!?", "\ud800", "a" * 301, "a " * 21])
def test_a_text_without_words_or_without_end_is_refused(text: str) -> None:
    """There is a limit on everything, and nothing to find is no search for all."""
    with pytest.raises(Rejected) as refused:
        text_query(text)
    assert refused.value.code == "invalid_query"


def test_accents_and_case_make_the_same_query_but_for_the_order_of_equals() -> None:
    """What is typed is folded like what is stored."""
    assert must("jose") == must("JOSÉ")


def test_only_an_address_is_looked_up_as_one() -> None:
    """The whole address comes first; the index compares it in any case."""
    asked = json.dumps(text_query(" Jane@Example.com "))
    assert '{"term": {"email": "Jane@Example.com"}}' in asked
    assert '"email":' not in json.dumps(text_query("jane"))
    copied = json.dumps(text_query("Jane Doe <jane@example.com>"))
    assert '{"term": {"email": "jane@example.com"}}' in copied


def test_slips_are_forgiven_only_when_asked() -> None:
    """They cost several times the rest."""
    assert "fuzziness" not in json.dumps(must("jane doe"))
    assert "fuzziness" in json.dumps(must("jane doe", Slips.ONE))


def test_with_slips_every_word_is_still_found_as_without() -> None:
    """What came first comes first again, when too little was found and more is asked."""
    for plain, forgiving in zip(must("jane doe"), must("jane doe", Slips.TWO), strict=True):
        ways = forgiving["dis_max"]["queries"]
        assert all(way in ways for way in plain["dis_max"]["queries"])


@pytest.mark.parametrize(
    ("word", "typed", "others"),
    [
        ("juergen", "Juergen", ["jurgen"]),
        ("jurgen", "Jürgen", ["juergen"]),
        ("jurgen", "Jurgen", []),
        ("aabjoern", "aabjoern", ["abjorn"]),
        ("soren", "Søren", ["soeren"]),
        ("muller", "Jürgen Müller", ["mueller"]),
        ("jane", "jane", []),
    ],
)
def test_letters_that_a_keyboard_lacks_are_spelt_out_either_way(
    word: str, typed: str, others: list[str]
) -> None:
    """Juergen finds Jürgen, and Jürgen finds Juergen."""
    assert spellings(word, typed) == others


def test_neighbours_are_tried_as_one_word_and_a_word_as_two() -> None:
    """A space too many, a space too few."""
    ways = json.dumps(must("corey mc grath", Slips.ONE)[1])
    assert '"mcgrath"' in ways
    assert '"coreymc"' in ways
    torn = json.dumps(must("oconnor", Slips.ONE))
    assert '"query": "o"' in torn
    assert '"query": "connor"' in torn


def test_at_last_a_word_too_many_is_forgiven_among_three() -> None:
    """A title, or a name that is not the person's."""
    (found,) = text_query("mrs jane doe", Slips.WORD)["bool"]["must"]
    assert found["bool"]["minimum_should_match"] == 2
    assert most_slips("mrs jane doe") == Slips.WORD
    assert most_slips("jane doe") == Slips.TWO
