import json
from typing import Any

import pytest

from projectors.elasticsearch.search.text import (
    Typos,
    as_registered,
    max_typos,
    spellings,
    text_query,
)
from schemas.errors import Rejected


def must(text: str, typos: Typos = Typos.NONE) -> list[Any]:
    """Return the required query of each word."""
    (found,) = text_query(text, typos)["bool"]["must"]
    words: list[Any] = found["bool"]["should"]
    assert found["bool"]["minimum_should_match"] == len(words)
    return words


@pytest.mark.parametrize("text", ["", "  ", "!?", "\ud800", "a" * 301, "a " * 21])
def test_a_text_that_is_too_long_or_has_no_words_is_refused(text: str) -> None:
    """An empty text does not mean all users."""
    with pytest.raises(Rejected) as refused:
        text_query(text)
    assert refused.value.code == "invalid_query"


def test_accents_and_case_affect_only_the_order_of_equal_matches() -> None:
    """The typed text is folded like the stored text."""
    assert must("jose") == must("JOSÉ")


def test_only_an_address_is_looked_up_as_an_address() -> None:
    """A complete address ranks first; the index compares it case-insensitively."""
    asked = json.dumps(text_query(" Jane@Example.com "))
    assert '{"term": {"email": "Jane@Example.com"}}' in asked
    assert '"email":' not in json.dumps(text_query("jane"))
    copied = json.dumps(text_query("Jane Doe <jane@example.com>"))
    assert '{"term": {"email": "jane@example.com"}}' in copied


def test_typos_are_tolerated_only_on_request() -> None:
    """They cost several times as much as the rest."""
    assert "fuzziness" not in json.dumps(must("jane doe"))
    assert "fuzziness" in json.dumps(must("jane doe", Typos.ONE))


def test_tolerance_for_typos_keeps_every_exact_match() -> None:
    """The users found without typos rank first again when the search is widened."""
    for plain, tolerant in zip(must("jane doe"), must("jane doe", Typos.TWO), strict=True):
        ways = tolerant["dis_max"]["queries"]
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
def test_transliterations_work_in_both_directions(word: str, typed: str, others: list[str]) -> None:
    """Juergen finds Jürgen, and Jürgen finds Juergen."""
    assert spellings(word, typed) == others


def test_neighbours_are_tried_as_one_word_and_a_word_as_two() -> None:
    """For an extra space and for a missing space."""
    ways = json.dumps(must("corey mc grath", Typos.ONE)[1])
    assert '"mcgrath"' in ways
    assert '"coreymc"' in ways
    split = json.dumps(must("oconnor", Typos.ONE))
    assert '"query": "o"' in split
    assert '"query": "connor"' in split


def test_names_in_three_parts_are_tried_together_and_apart() -> None:
    """Initials with every tolerance for typos, other parts only with the greatest."""
    assert '"vandenakker"' in json.dumps(must("van den akker", Typos.ONE)[1])
    initials = json.dumps(must("jrr tolkien", Typos.ONE)[0])
    assert initials.count('"query": "r"') >= 2
    for typos, tried in ((Typos.ONE, False), (Typos.TWO, True)):
        split = json.dumps(must("vandenakker", typos))
        assert ('"query": "den"' in split and '"query": "akker"' in split) == tried


def test_a_given_name_of_hangul_is_the_end_of_a_word() -> None:
    assert '".{1,2}민준"' in json.dumps(must("민준"), ensure_ascii=False)
    assert "regexp" not in json.dumps(must("jane"))


@pytest.mark.parametrize(
    ("typed", "registered"),
    [
        ("jane@xn--bcher-kva.de", "jane@bücher.de"),
        ("XN--BCHER-KVA.de", "bücher.de"),
        ("xn--\u00e4", "xn--\u00e4"),
        ("xn--99999999999", "xn--99999999999"),
        ("jane", "jane"),
    ],
)
def test_punycode_is_searched_as_it_is_stored(typed: str, registered: str) -> None:
    assert as_registered(typed) == registered


def test_with_the_greatest_tolerance_one_of_three_words_may_not_match() -> None:
    """Such as a title, or a wrong middle name."""
    (found,) = text_query("mrs jane doe", Typos.WORD)["bool"]["must"]
    assert found["bool"]["minimum_should_match"] == 2
    assert max_typos("mrs jane doe") == Typos.WORD
    assert max_typos("jane doe") == Typos.TWO
