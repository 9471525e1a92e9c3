import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors.elasticsearch.folding import fold


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("José Muñoz", "jose munoz"),
        ("Łukasz Żółć", "lukasz zolc"),
        ("Søren Ærø", "soren aero"),
        ("Đorđe Ðuro", "dorde duro"),
        ("STRAßE Straße", "strasse strasse"),
        ("IŞIK ışık İzmir", "isik isik izmir"),
        ("Þórður", "thordur"),
        ("Ψυχή Ὀδυσσεύς", "ψυχη οδυσσευσ"),
        ("Фёдор Андрей", "федор андреи"),
        ("O'Brien-Smith", "o brien smith"),
        ("Деревʼянко Kaʻiulani O’Neil", "дерев янко ka iulani o neil"),
        ("jane.doe_99+x@example.com", "jane doe 99 x example com"),
        ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
        ("ﬁnn", "finn"),
        ("  many \t spaces ", "many spaces"),
        ("…!?", ""),
    ],
)
def test_accents_case_and_punctuation_are_folded(text: str, folded: str) -> None:
    """Text typed on a keyboard without these letters finds what is stored."""
    assert fold(text) == folded


@pytest.mark.parametrize("name", ["김철수", "佐藤太郎", "がくと", "मोहित शर्मा", "สมชาย", "علي"])
def test_letters_of_other_scripts_keep_their_spelling(name: str) -> None:
    """Marks that are part of a letter in Korean, Japanese, Hindi or Thai are not accents."""
    assert fold(name) == unicodedata.normalize("NFC", name)


def test_joiners_and_vowel_points_are_ignored() -> None:
    """Persian names match with and without joiners, Arabic and Hebrew without vowel points."""
    assert fold("می\u200cخواهم") == fold("میخواهم")
    assert fold("مُحَمَّد") == fold("محمد")
    assert fold("שָׁלוֹם") == fold("שלום")


def test_persian_and_arabic_letters_that_look_the_same_are_equal() -> None:
    """A name can be typed on the other keyboard."""
    assert fold("حسین کریمی") == fold("حسين كريمي")
    assert fold("فاطمة") == fold("فاطمه")


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    """So text may safely be folded more than once."""
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_the_normal_form_of_the_input_does_not_matter(text: str) -> None:
    """Decomposed and composed spellings fold to the same text."""
    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))


@given(st.text(st.characters(max_codepoint=127)))
def test_the_fast_path_for_ascii_agrees_with_the_slow_one(text: str) -> None:
    """A letter beyond ASCII selects the slow path and must not change the rest."""
    assert fold(f"{text} é") == f"{fold(text)} e".strip()
