"""What only looks like another name or address is refused on input, with its own reason."""

import sys
from collections.abc import Iterator

import pytest

from schemas.errors import Rejected
from schemas.fields.lookalikes import has_invisible, is_blank, is_plainly_visible
from schemas.fields.rules import clean_email, clean_name, permit_special_use
from schemas.fields.special_use import RESERVED_FOR
from schemas.identity import email_key
from schemas.trust import check_event
from tests.samples.events import event_of


def reason(value: str, *, name: bool = False) -> str:
    with pytest.raises(Rejected) as caught:
        (clean_name if name else clean_email)(value)
    assert caught.value.code == "invalid_command"
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("\u200b", "\u3164", "\u2800", "\u115f\u1160", "\uffa0", "\u00ad", "\u2060", "\ufeff"),
        *("\u200d", "\u200c\u200c", "\u200e", "\u061c", "\u17b4", "\u034f", "\ufe0f", "\u0301"),
        *("\u2800 \u3164", "\u180e", "\U000e0041", "\U0001d159", "\u206a", "\u3000\u200b"),
    ],
)
def test_a_name_has_something_visible(name: str) -> None:
    assert reason(name, name=True) == "the name has no visible character"


@pytest.mark.parametrize(
    "character",
    ["\u200b", "\u2060", "\ufeff", "\u00ad", "\u3164", "\u2800", "\u200d", "\u200c", "\u034f"],
)
@pytest.mark.parametrize("place", ["Jane{}Doe", "{}Jane", "Jane Doe{}"])
def test_two_names_do_not_differ_by_what_nobody_sees(character: str, place: str) -> None:
    assert reason(place.format(character), name=True) == "the name has invisible characters"


@pytest.mark.parametrize(
    "name",
    [
        *("علی\u200cرضا", "क्\u200dष", "ශ්\u200dරී", "שרה\u200f", "\u200fשרה", "👩\u200d🚀 Jane"),
        *("山田\u3000太郎", "김민준", "Zoë", "O\u2019Neil", "Nguyễn", "ยู่ ยี่", "X Æ A-12", "木", "1"),
    ],
)
def test_real_names_are_accepted(name: str) -> None:
    assert clean_name(name) == name


def test_no_invisible_character_is_plainly_visible() -> None:
    """The quick check of names lets nothing pass that the slow one refuses, in all of Unicode."""
    for character in map(chr, range(sys.maxunicode + 1)):
        if is_plainly_visible(character):
            assert not is_blank(character) or character == " ", hex(ord(character))
            assert not has_invisible(character), hex(ord(character))


@pytest.mark.parametrize(
    ("email", "why"),
    [
        ("straße@example.com", "a letter like ß"),
        ("x@faß.de", "a letter like ß"),
        ("x@xn--fa-hia.de", "a letter like ß"),
        ("STRAẞE@example.com", "a letter like ß"),
        ("o\ufb00ice@example.com", "variants of letters"),
        ("ｊane@example.com", "variants of letters"),
        ("ſam@example.com", "variants of letters"),
        ("x²@example.com", "variants of letters"),
        ("jаne@example.com", "different scripts"),
        ("jane@exаmple.com", "different scripts"),
        ("jane@xn--exmple-4nf.com", "different scripts"),
        ("αnna@example.com", "different scripts"),
    ],
)
def test_an_address_that_looks_like_another_is_refused(email: str, why: str) -> None:
    assert why in reason(email)


@pytest.mark.parametrize(
    "email",
    [
        *("иван@пример.рф", "иван@example.com", "γιώργος@example.com", "josé@example.com"),
        *("jane@bücher.de", "山田taro@example.com", "さくらサクラ@例え.jp", "김minjun@example.com"),
        *("jane.doe@xn--bcher-kva.de", "علي@example.com", "Σοφία@example.com"),
    ],
)
def test_addresses_of_any_script_are_accepted(email: str) -> None:
    assert "@" in clean_email(email)


def test_a_refused_address_has_the_key_of_another() -> None:
    """What the refusal prevents: mail systems deliver the two to different mailboxes."""
    for one, other in (("straße@example.com", "strasse@example.com"), ("x@faß.de", "x@fass.de")):
        assert email_key(one) == email_key(other)


def test_what_the_log_holds_stays_valid() -> None:
    """Only input is refused: an event with such a name and address is still read."""
    event = event_of("straße@example.com", name="\u3164")
    check_event(event, event["user_id"].encode(), 0, 1)


@pytest.fixture
def _permits_nothing_afterwards() -> Iterator[None]:
    yield
    permit_special_use("")


@pytest.mark.parametrize("label", RESERVED_FOR)
@pytest.mark.usefixtures("_permits_nothing_afterwards")
def test_special_use_domains_are_refused_unless_a_setting_permits_them(label: str) -> None:
    """The refusal says what the domain is reserved for."""
    email = f"jane@host.{label}"
    assert reason(email).endswith(RESERVED_FOR[label])
    permit_special_use(f"{label},test")
    assert clean_email(email) == email
    for other in set(RESERVED_FOR) - {label, "test"}:
        assert reason(f"a@b.{other}").endswith(RESERVED_FOR[other])
