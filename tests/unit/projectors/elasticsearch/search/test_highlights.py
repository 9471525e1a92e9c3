import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors.elasticsearch.search.highlights import highlights, is_typo, unescaped


@pytest.mark.parametrize(
    ("text", "name", "marked"),
    [
        ("jose", "José Muñoz", "<em>José</em> Muñoz"),
        ("muñ", "José Muñoz", "José <em>Muñoz</em>"),
        ("munoz jose", "José Muñoz", "<em>José</em> <em>Muñoz</em>"),
        ("juergen", "Heinz-Jürgen", "Heinz-<em>Jürgen</em>"),
        ("jnae", "Jane Doe", "<em>Jane</em> Doe"),
        ("oconnor", "Lesley O'Connor", "Lesley <em>O</em>&#x27;<em>Connor</em>"),
        ("vandenakker", "Jan van den Akker", "Jan <em>van</em> <em>den</em> <em>Akker</em>"),
        ("van den akker", "Jan Vandenakker", "Jan <em>Vandenakker</em>"),
        ("jrr", "J. R. R. Tolkien", "<em>J</em>. <em>R</em>. <em>R</em>. Tolkien"),
        ("худоб'як", "Макар Худобʼяк", "Макар <em>Худобʼяк</em>"),
        ("민준", "김민준", "<em>김민준</em>"),
        ("xn--bcher-kva", "Jane Bücher", "Jane <em>Bücher</em>"),
        ("mc grath", "Corey Mcgrath", "Corey <em>Mcgrath</em>"),
        ("佐藤太郎", "太郎 佐藤", "<em>太郎</em> <em>佐藤</em>"),
        ("김민재", "민재 김", "<em>민재</em> <em>김</em>"),
        ("федоров", "Иван Фёдоров", "Иван <em>Фёдоров</em>"),
    ],
)
def test_a_match_is_marked_as_it_is_written(text: str, name: str, marked: str) -> None:
    """With the accents and punctuation of the name."""
    assert highlights(text, name=name) == {"name": marked}


def test_only_the_best_match_of_a_word_is_marked() -> None:
    """Typing jane means Jane, not Janeway; an initial means a name, not a part of an address."""
    assert highlights("jane", name="Jane Janeway") == {"name": "<em>Jane</em> Janeway"}
    assert highlights("m doe", name="Mary Doe", email="mary@mail.example.com") == {
        "name": "<em>Mary</em> <em>Doe</em>",
        "email": "<em>mary</em>@mail.example.com",
    }


def test_a_field_without_a_match_is_left_out() -> None:
    assert highlights("nobody", name="Jane Doe", email="jane@example.com") == {}


@pytest.mark.parametrize(
    ("typed", "meant", "typo"),
    [
        ("jnae", "jane", True),
        ("jae", "jane", True),
        ("jxne", "jane", True),
        ("jxnx", "jane", False),
        ("jo", "ja", False),
        ("matheiu", "matthieu", True),
        ("matheui", "matthieux", False),
    ],
)
def test_a_typo_is_one_letter_or_two_in_longer_words(typed: str, meant: str, *, typo: bool) -> None:
    """Counted as in Elasticsearch: swapping two letters is one typo."""
    assert is_typo(typed, meant) is typo


@given(st.text(max_size=40), st.text(max_size=40))
def test_marks_change_nothing_else(text: str, name: str) -> None:
    """Without the marks it is the name, escaped for HTML, whatever the name contains."""
    marked = highlights(text, name=name).get("name")
    if marked is not None:
        assert "".join(unescaped(marked)) == name
        assert marked.replace("<em>", "").replace("</em>", "") == html.escape(name)


def test_a_name_with_html_is_shown_as_text() -> None:
    """A page that shows the highlight runs nothing that a user wrote into a name."""
    name = "<img src=x onerror=alert(1)> Jane </em>"
    marked = highlights("jane", name=name)["name"]
    assert marked == "&lt;img src=x onerror=alert(1)&gt; <em>Jane</em> &lt;/em&gt;"
    assert unescaped(marked) == ("<img src=x onerror=alert(1)> ", "Jane", " </em>")
