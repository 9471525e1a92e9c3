"""The field rules, shared by clients and the handler; no message repeats a value."""

import subprocess
import sys
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import Rejected
from schemas.fields.rules import (
    _PLAIN_EMAIL,
    age_group,
    clean_age,
    clean_command_id,
    clean_email,
    clean_name,
    clean_version,
    to_datetime,
)


def refused(clean: Callable[[Any], object], value: object) -> str:
    with pytest.raises(Rejected) as caught:
        clean(value)
    assert caught.value.code == "invalid_command"
    if isinstance(value, str) and len(value.strip()) > 3:
        assert value.strip() not in str(caught.value) + caught.value.next_step
    return str(caught.value)


# Labels that e-mail rules treat differently, and plain ones around them.
tricky_labels = st.sampled_from(
    [
        *SPECIAL_USE_DOMAIN_NAMES,
        *("example", "com", "co", "xn", "xn--", "ab--c", "xn--nxasmq6b", "-a", "a-", "a-b"),
        *("1", "10", "0x7f", "in", "addr", "ip6", "alt", "internal", "home", "a" * 40, "a" * 64),
    ]
)
labels = tricky_labels | st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)
locals_ = st.from_regex(r"[A-Za-z0-9_.+-]{1,20}", fullmatch=True) | tricky_labels
addresses = st.builds(
    lambda local, domain: f"{local}@{'.'.join(domain)}",
    locals_,
    st.lists(labels, min_size=1, max_size=5),
)


@given(addresses | st.from_regex(_PLAIN_EMAIL, fullmatch=True))
@example("a@b.local")
@example("NOC@example.com")
@example("a@in-addr.arpa")
@example("a@ab--c.com")
@example("a@xn--nxasmq6b.com")
@example("a@example.1")
@example("a@1.2.3.4")
@example(".a@example.com")
@example("a.@example.com")
@example("a..b@example.com")
@example("-a@example.com")
@example("a@-b.com")
@example("a@b.com.")
@example("a@b.com\n")
@example("a" * 65 + "@b.com")
def test_the_fast_path_agrees_with_email_validator(address: str) -> None:
    try:
        expected = validate_email(address.strip(), check_deliverability=False).normalized
    except EmailNotValidError:
        refused(clean_email, address)
    else:
        assert clean_email(address) == expected


@pytest.mark.parametrize("domain", SPECIAL_USE_DOMAIN_NAMES)
def test_special_use_domains_are_refused_with_their_subdomains(domain: str) -> None:
    """They receive no mail, although such an address looks plain."""
    for address in (f"a@{domain}", f"a@b.{domain}", f"a@c.b.{domain}"):
        refused(clean_email, address)


def test_special_use_domains_are_single_labels() -> None:
    """The fast path compares only the last label; a longer entry would pass it."""
    assert not [domain for domain in SPECIAL_USE_DOMAIN_NAMES if "." in domain]


@given(st.text(max_size=60) | st.text(max_size=30).map(lambda text: f"{text}@example.com"))
@example("\ud800@example.com")
@example("a@\ud800.com")
@example("a@xn--a.com")
@example("Jane <jane@example.com>")
@example('"a b"@example.com')
@example("a@[127.0.0.1]")
def test_any_text_is_a_stable_address_or_is_rejected(text: str) -> None:
    """An accepted address can be encoded, and cleaning it again changes nothing."""
    try:
        email = clean_email(text)
    except Rejected:
        return
    email.encode()
    assert clean_email(email) == email


def test_addresses_are_normalised() -> None:
    """Trimmed, with a lower-case domain, in NFC; the local part keeps its case."""
    assert clean_email("  Jane@EXAMPLE.com\n") == "Jane@example.com"
    assert clean_email("e\u0301lodie@example.com") == "élodie@example.com"


@pytest.mark.parametrize("value", [None, 7, b"a@b.com", "", " ", "a" * 10_000_000, ["a@b.com"]])
def test_other_values_are_rejected_as_addresses(value: object) -> None:
    """Other types, empty text and ten megabytes are rejected at once."""
    refused(clean_email, value)


def test_names_are_trimmed_and_composed() -> None:
    """A stored name is in NFC and trimmed; scripts and joiners are kept."""
    assert clean_name("  Jane Doe \u3000") == "Jane Doe"
    assert clean_name("Zoe\u0301") == "Zoé"
    assert clean_name("علی\u200cرضا") == "علی\u200cرضا"
    assert clean_name("山田\u3000太郎") == "山田\u3000太郎"


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9f"),
        *("\ud800", "\udfff", "\u2028", "\u2029"),
        *("\u202a", "\u202b", "\u202c", "\u202d", "\u202e"),
        *("\u2066", "\u2067", "\u2068", "\u2069"),
    ],
)
def test_names_have_no_control_characters(character: str) -> None:
    """Controls, lone surrogates, line separators and direction overrides are rejected."""
    assert "control characters" in refused(clean_name, f"Jane{character}Doe")


def test_the_length_of_a_name_is_counted_as_stored() -> None:
    """200 characters after trimming and composing are accepted, 201 are rejected."""
    assert clean_name(" " + "x" * 200 + " ") == "x" * 200
    assert clean_name("e\u0301" * 200) == "é" * 200
    for name in ("x" * 201, "e\u0301" * 201, "\u0958" * 101, "x" * 10_000_000):
        refused(clean_name, name)


@pytest.mark.parametrize("value", ["", "   ", "\u3000", "\n\t", None, 7, b"Jane"])
def test_other_values_are_rejected_as_names(value: object) -> None:
    """A name that consists of spaces is empty."""
    refused(clean_name, value)


@given(st.text(max_size=250))
def test_a_clean_name_is_stable_and_safe(text: str) -> None:
    """Cleaning twice changes nothing, and every store accepts the result."""
    try:
        name = clean_name(text)
    except Rejected:
        return
    assert clean_name(name) == name == unicodedata.normalize("NFC", name)
    assert 1 <= len(name) <= 200
    assert "\x00" not in name
    name.encode()


def test_ages_are_whole_years_to_150() -> None:
    """0 and 150 are accepted; other numbers, booleans, floats and text are rejected."""
    assert [clean_age(age) for age in (0, 19, 150)] == [0, 19, 150]
    for value in (-1, 151, 10**30, True, False, 34.0, 34.5, float("nan"), "34", None):
        refused(clean_age, value)


def test_age_groups_meet_without_a_gap() -> None:
    """Teen below 20, adult 20–64, senior from 65."""
    groups = {age: age_group(age) for age in (0, 19, 20, 64, 65, 150)}
    assert groups == {
        0: "teen",
        19: "teen",
        20: "adult",
        64: "adult",
        65: "senior",
        150: "senior",
    }


def test_command_ids_are_visible_ascii() -> None:
    """1–64 characters that are safe in a log, a key and a shell."""
    for good in ("x", "a" * 64, "import:9f/3~!"):
        assert clean_command_id(good) == good
    for bad in ("", "a" * 65, "a b", "a\n", "\n", "é", "a\x00", "a\x7f", None, 7, b"x"):
        refused(clean_command_id, bad)


def test_expected_versions_fit_the_record() -> None:
    """From 1 to the greatest 64-bit number; others would fail only when encoded."""
    assert clean_version(1) == 1
    assert clean_version(2**63 - 1) == 2**63 - 1
    for bad in (0, -1, 2**63, True, 1.0, "1", None):
        refused(clean_version, bad)


@given(st.integers(0, 4_102_444_800_000))
def test_times_are_exact(unix_ms: int) -> None:
    """No millisecond is lost or gained in a conversion to a datetime."""
    moment = to_datetime(unix_ms)
    assert moment.tzinfo is UTC
    assert moment - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(milliseconds=unix_ms)


def test_a_plain_address_is_checked_without_the_library() -> None:
    """Importing email-validator takes a sixth of the time that a command line needs to start."""
    script = (
        "import sys\n"
        "from schemas.fields.rules import clean_email, permit_special_use\n"
        "permit_special_use('')\n"
        "clean_email('jane@example.com')\n"
        "assert 'email_validator' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
