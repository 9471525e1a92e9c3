"""Events of made-up users, as the handler would write them."""

from typing import Any, Final

from schemas.identity import email_shard, new_user_id
from schemas.records import USER_ERASED, UserEvent

NOW: Final = 1_700_000_000_000


def user_id(number: int) -> str:
    """Return the id of user `number`."""
    return new_user_id(email_shard(f"user{number}@example.com"), NOW + number, number)


def user_event(number: int, version: int = 1, **state: Any) -> UserEvent:
    """Return an event of user `number`; `gone=True` makes it one that deletes the user."""
    email = f"user{number}@example.com"
    fields = {
        "email": email,
        "email_key": email,
        "name": "Jane Doe",
        "age": 34,
        "created_at": NOW + number,
        "created_by": "c",
    }
    return {
        "event_id": f"{user_id(number)}:{version}",
        "command_id": "c",
        "seq": 1,
        "user_id": user_id(number),
        "version": version,
        "occurred_at": NOW + number + 1000 * version,
        "type": "UserUpdated",
        "changes": [],
        "user": None if state.pop("gone", False) else fields | state,  # type: ignore[typeddict-item]
        "issued_by": None,
    }


def erasure(number: int, version: int) -> UserEvent:
    """Return the event that marks user `number` as erased."""
    return {**user_event(number, version, gone=True), "type": USER_ERASED}
