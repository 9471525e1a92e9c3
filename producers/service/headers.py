"""The headers with which a request says how it is to be processed.

`Idempotency-Key` is the id of the command, `If-Match` the version that it is based on, and `Prefer`
says how long to wait for the answer.
"""

import re
from typing import Final, NamedTuple

from starlette.datastructures import Headers

from schemas.errors import Rejected
from schemas.fields.rules import COMMAND_ID_MAX_CHARACTERS, clean_command_id, clean_version

_VERSION: Final = re.compile(r'"([1-9][0-9]{0,18})"')
# A preference with its value, if any; what follows a semicolon are parameters, and we know none.
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE: Final = re.compile(
    rf"\s*([\w!#$%&'*+.^`|~-]+)\s*(?:=\s*({_QUOTED}|[^\s,;\"]*))?\s*(?:;(?:{_QUOTED}|[^,\"])*)?(?:,|$)",
    re.ASCII,
)
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class Preferences(NamedTuple):
    """What `Prefer` asks for (RFC 7240); `wait_seconds` is None if it does not say."""

    respond_async: bool = False
    wait_seconds: int | None = None


def command_id_of(headers: Headers) -> str | None:
    """Return the command id that `Idempotency-Key` gives, None without the header.

    It may be in quotation marks, as its draft standard has it, or without them, as most clients
    send it. Raises `Rejected` (`invalid_command`).
    """
    values = headers.getlist("idempotency-key")
    if not values:
        return None
    if len(values) > 1:
        raise _invalid("Idempotency-Key", "there is more than one Idempotency-Key", "send one")
    value = values[0]
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    try:
        return clean_command_id(value)
    except Rejected:
        raise _invalid(
            "Idempotency-Key",
            f"the Idempotency-Key is not 1–{COMMAND_ID_MAX_CHARACTERS} visible ASCII characters",
            "leave it out, or use a UUID",
        ) from None


def expected_version_of(headers: Headers) -> int | None:
    """Return the version that `If-Match` names; None if any version will do.

    `*` asks for a user of any version, which every command that changes one asks for already.
    Raises `Rejected` (`invalid_command`) for anything that cannot be one of our versions.
    """
    text = ", ".join(headers.getlist("if-match")).strip()
    if text == "*" or "if-match" not in headers:
        return None
    version = _VERSION.fullmatch(text)
    if version is not None:
        try:
            return clean_version(int(version[1]))
        except Rejected:
            pass
    if text.startswith("W/"):
        wrong = "If-Match has a weak tag, which never matches"
    elif "," in text:
        wrong = "If-Match has more than one version"
    else:
        wrong = "If-Match is not a version"
    raise _invalid("If-Match", wrong, 'send the ETag of the user, such as "3"')


def preferences_of(headers: Headers) -> Preferences:
    """Return what `Prefer` asks for; a preference that is unknown or malformed is ignored."""
    text = ",".join(headers.getlist("prefer"))
    found: dict[str, str] = {}
    for preference in _PREFERENCE.finditer(text):
        # The first one counts.
        found.setdefault(preference[1].lower(), (preference[2] or "").strip('"'))
    wait = found.get("wait", "")
    return Preferences("respond-async" in found, int(wait) if _SECONDS.fullmatch(wait) else None)


def _invalid(field: str, message: str, next_step: str) -> Rejected:
    return Rejected(message, code="invalid_command", next_step=next_step, field=field)
