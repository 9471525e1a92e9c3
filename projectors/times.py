"""Times as people and programs read them: ISO-8601 in UTC, to the millisecond."""

from datetime import UTC, datetime

from schemas.rules import to_datetime


def iso_time(moment: datetime | int) -> str:
    """Return an aware datetime, or milliseconds since the epoch, like 2026-07-01T09:30:00.250Z."""
    if isinstance(moment, int):
        moment = to_datetime(moment)
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
