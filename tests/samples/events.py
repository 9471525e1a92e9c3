"""Complete user events; a test states only the fields that matter to it."""

from typing import Any

from schemas.identity import email_key, email_shard, new_user_id
from schemas.records import USER_UPDATED, UserEvent

NOW = 1_700_000_000_000


def user_id_of(email: str, number: int = 0) -> str:
    """Return the id of the user who registered with `email`; `number` tells several apart."""
    return new_user_id(email_shard(email_key(email)), NOW + number, number)


def event_of(email: str, /, version: int = 1, *, number: int = 0, **fields: Any) -> UserEvent:
    """Return an event of the user who registered with `email`.

    `fields` replace fields of the user or else of the event; `gone=True` leaves no user.
    """
    user_id = user_id_of(email, number)
    user = {
        "email": email,
        "email_key": email_key(email),
        "name": "Jane Doe",
        "age": 34,
        "created_at": NOW + number,
        "created_by": "c",
    }
    user |= {name: fields.pop(name) for name in user.keys() & fields.keys()}
    event: Any = {
        "event_id": f"{user_id}:{version}",
        "command_id": "c",
        "seq": 1,
        "user_id": user_id,
        "version": version,
        "occurred_at": NOW + number + 1000 * version,
        "type": USER_UPDATED,
        "changes": [],
        "user": None if fields.pop("gone", False) else user,
        "issued_by": None,
    }
    assert fields.keys() <= event.keys()
    return event | fields  # type: ignore[no-any-return]
