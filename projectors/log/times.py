"""Times in commands and results: ISO 8601, in UTC unless a zone is given."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.fields.rules import to_datetime

_RELATIVE = re.compile(r"-?(\d{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
EXAMPLES: Final = "a time like 2026-01-31T12:00Z or an age like 10m"


def iso_time(moment: datetime | int) -> str:
    """Return an aware datetime, or milliseconds since the epoch, like 2026-07-01T09:30:00.250Z."""
    if isinstance(moment, int):
        moment = to_datetime(moment)
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_time(text: str, now: datetime) -> datetime:
    """Return the time in `text`: ISO 8601 (UTC if it has no zone), or an age such as 10m.

    Raises `ValueError`, with a sentence as its message, for anything else.
    """
    try:
        if relative := _RELATIVE.fullmatch(text):
            return now - timedelta(**{_UNITS[relative[2]]: int(relative[1])})
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not {EXAMPLES}") from None
