"""The rules for the fields of a user.

Clients check them for a quick answer; the handler's check decides. Both call these functions, so
they never disagree. Every function returns the value as it will be stored, or raises `Rejected`
with code `invalid_command` and a sentence that does not repeat the value.
"""

import re
import unicodedata
from datetime import UTC, datetime
from functools import cache

from schemas.errors import Rejected
from schemas.fields.lookalikes import (
    has_compatibility_form,
    has_invisible,
    is_blank,
    is_folded_further,
    is_plainly_visible,
    mixes_scripts,
)
from schemas.fields.special_use import RESERVED_FOR

NAME_MAX_CHARACTERS = 200
AGE_MAX_YEARS = 150
# The greatest age that is stored, if another release accepted it.
STORED_AGE_MAX_YEARS = 2**16 - 1
COMMAND_ID_MAX_CHARACTERS = 64
TEEN_BELOW_YEARS = 20
SENIOR_FROM_YEARS = 65
_EMAIL_MAX_CHARACTERS = 254
_VERSION_MAX = 2**63 - 1
_COMMAND_ID = re.compile(r"[!-~]{1,64}")
_ADDRESS = re.compile(r"[^@]+@[^@]+\.[^@]+")

# email-validator returns addresses of this shape unchanged. It needs 16 µs for that, a third of the
# cost of a creation; this pattern needs 0.6 µs. A property test checks that the two agree.
_PLAIN_EMAIL = re.compile(
    r"([A-Za-z0-9_]{1,16}(?:[.+-]?[A-Za-z0-9_]{1,16}){0,2})@(?:[a-z0-9]{1,40}\.){1,3}([a-z]{2,20})"
)
# Except for top-level domains that a setting permits or refuses,
_MAY_BE_REFUSED = frozenset(RESERVED_FOR)
_PERMITTED: set[str] = set()
# and for the mailboxes that every domain has, in any case: see `_shared_mailboxes`.

# Control characters, lone surrogates, line and paragraph separators, and the bidirectional
# controls, which make text look different from what it is. Joiners (U+200C, U+200D) are allowed:
# Persian and Indic names are spelled with them.
_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_BIDI_CONTROLS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _invalid(message: str, next_step: str = "") -> Rejected:
    return Rejected(message, code="invalid_command", next_step=next_step)


# email-validator is imported where it is needed: it compiles expressions for a sixth of the time
# that a command line takes to start, and most command lines never call it.


@cache
def _shared_mailboxes() -> frozenset[str]:
    """Return the mailboxes that every domain has (RFC 2142); email-validator lower-cases them."""
    from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

    return frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)


def permit_special_use(domains: str) -> None:
    """Accept addresses of these special-use domains from now on, in the whole process.

    `domains` are separated by commas and among `RESERVED_FOR`; "" permits none.
    """
    _PERMITTED.clear()
    _PERMITTED.update(domains.split(","))


def clean_email(value: object) -> str:
    """Return a valid address, normalised by email-validator (without a DNS look-up).

    Refuses what only looks like another address (docs/decisions/0025).
    """
    if not isinstance(value, str):
        raise _invalid("the e-mail address is missing or not text")
    plain = _PLAIN_EMAIL.fullmatch(value)
    if (
        plain
        and plain[2] not in _MAY_BE_REFUSED
        and (value.islower() or plain[1].lower() not in _shared_mailboxes())
    ):
        return value
    if len(value) > 2 * _EMAIL_MAX_CHARACTERS:
        raise _invalid("the e-mail address is too long")
    from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

    # The library's own way to configure it; it reads the list at each call.
    SPECIAL_USE_DOMAIN_NAMES[:] = RESERVED_FOR.keys() - _PERMITTED
    try:
        email = validate_email(value.strip(), check_deliverability=False).normalized
        email.encode()
    except (EmailNotValidError, UnicodeError):
        _refuse_special_use(value)
        raise _invalid(
            "the e-mail address is not valid", "give one like jane@example.com"
        ) from None
    if not email.isascii():
        _refuse_lookalike(email)
    return email


def _refuse_special_use(address: str) -> None:
    label = address.strip().rpartition(".")[2].lower()
    if label in RESERVED_FOR.keys() - _PERMITTED:
        raise _invalid(
            f"the domain of the e-mail address ends with .{label}, {RESERVED_FOR[label]}",
            "the setting special_use_domains permits such domains",
        )


def _refuse_lookalike(email: str) -> None:
    if has_compatibility_form(email):
        raise _invalid(
            "the e-mail address has full-width letters, ligatures or other variants of letters",
            "write it with plain letters",
        )
    if is_folded_further(email):
        raise _invalid(
            "the e-mail address has a letter like ß, which cannot be told from its spelling as ss",
            "mail systems keep the two apart, but this registry cannot: use another address",
        )
    if mixes_scripts(email):
        raise _invalid(
            "the e-mail address mixes letters of different scripts in one word",
            "retype it: letters of another script look the same",
        )


def clean_name(value: object) -> str:
    """Return the name trimmed and in NFC: 1–200 characters, none of them invisible."""
    if not isinstance(value, str):
        raise _invalid("the name is missing or not text")
    if len(value) > 4 * NAME_MAX_CHARACTERS:
        raise _invalid(f"the name is longer than {NAME_MAX_CHARACTERS} characters")
    name = value.strip()
    if not name:
        raise _invalid("the name is empty")
    # A printable name has nothing forbidden, so most names skip the checks below.
    if not name.isprintable():
        if any(unicodedata.category(c) in _FORBIDDEN_CATEGORIES for c in name):
            raise _invalid("the name has control characters")
        if not _BIDI_CONTROLS.isdisjoint(name):
            raise _invalid("the name has control characters that change its direction")
    if not name.isascii() and not is_plainly_visible(name):
        _refuse_invisible(name)
    name = unicodedata.normalize("NFC", name)
    if len(name) > NAME_MAX_CHARACTERS:
        raise _invalid(f"the name is longer than {NAME_MAX_CHARACTERS} characters")
    return name


def _refuse_invisible(name: str) -> None:
    if is_blank(name):
        raise _invalid("the name has no visible character")
    if has_invisible(name):
        raise _invalid("the name has invisible characters", "type it instead of pasting it")


def clean_age(value: object) -> int:
    """Return the age in whole years, 0–150."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid("the age is missing or not a whole number")
    if not 0 <= value <= AGE_MAX_YEARS:
        raise _invalid(f"the age is not between 0 and {AGE_MAX_YEARS}")
    return value


def clean_command_id(value: object) -> str:
    """Return a command id: 1–64 visible ASCII characters."""
    if not isinstance(value, str) or not _COMMAND_ID.fullmatch(value):
        raise _invalid(
            f"the command id is not 1–{COMMAND_ID_MAX_CHARACTERS} visible ASCII characters",
            "leave it out, or use a UUID",
        )
    return value


def clean_issued_by(value: object) -> str:
    """Return who asks: the name of a key or an opaque id, 1–64 visible ASCII characters.

    The audit trail keeps it for ever, so it must not be personal data, such as an e-mail address.
    """
    if not isinstance(value, str) or not _COMMAND_ID.fullmatch(value):
        raise _invalid(
            "the name of who asks is not 1–64 visible ASCII characters",
            "name a key or an opaque id, never a person",
        )
    if _ADDRESS.fullmatch(value):
        raise _invalid(
            "the name of who asks is an e-mail address, and every event keeps it for ever",
            "name a key or an opaque id, never a person",
        )
    return value


def clean_version(value: object) -> int:
    """Return an expected version: a whole number from 1 that fits the record's 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _VERSION_MAX:
        raise _invalid("the expected version is not a whole number from 1")
    return value


def age_bound(max_age: int) -> int:
    """Return the greatest age that a query up to `max_age` finds.

    A query up to the limit of the rules also finds the older users that another release accepted.
    """
    return max_age if max_age < AGE_MAX_YEARS else STORED_AGE_MAX_YEARS


def age_group(age: int) -> str:
    """Return teen (below 20), adult (20–64) or senior (from 65)."""
    if age < TEEN_BELOW_YEARS:
        return "teen"
    return "senior" if age >= SENIOR_FROM_YEARS else "adult"


def to_datetime(unix_ms: int) -> datetime:
    """Return milliseconds since the epoch as an aware UTC datetime, exactly."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)
