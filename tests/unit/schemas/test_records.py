"""The functions that read event records."""

from schemas.records import (
    USER_CREATED,
    USER_DELETED,
    USER_UPDATED,
    EventType,
    User,
    UserEvent,
    changes_of,
)

JANE: User = {
    "email": "jane@example.com",
    "email_key": "jane@example.com",
    "name": "Jane",
    "age": 34,
    "created_at": 1,
    "created_by": "c1",
}


def event(kind: EventType, user: User | None, changes: list[tuple[str, str, str]]) -> UserEvent:
    return {
        "event_id": "u:1",
        "command_id": "c1",
        "seq": 1,
        "user_id": "u",
        "version": 1,
        "occurred_at": 1,
        "type": kind,
        "changes": [{"field": f, "before": b, "after": a} for f, b, a in changes],
        "user": user,
    }


def test_a_creation_changes_every_field() -> None:
    """A `UserCreated` stores no list of changes, but readers see one of every field."""
    assert changes_of(event(USER_CREATED, JANE, [])) == [
        {"field": "email", "before": None, "after": "jane@example.com"},
        {"field": "name", "before": None, "after": "Jane"},
        {"field": "age", "before": None, "after": 34},
    ]


def test_other_events_list_the_changes_they_store() -> None:
    """Nothing is added to the list of an update or a deletion."""
    updated = event(USER_UPDATED, JANE, [("name", "Jan", "Jane")])
    assert changes_of(updated) == updated["changes"]
    assert changes_of(event(USER_DELETED, None, [])) == []
