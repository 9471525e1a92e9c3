"""A user at a version or a point in time, or the reason why there is none; pure functions."""

from datetime import datetime

from projectors.log.times import iso_time
from projectors.postgres.store.user_view import UserView
from schemas.errors import Rejected
from schemas.fields.rules import age_group, to_datetime
from schemas.records import USER_ERASED, UserEvent


def as_of_version(version: int, found: UserEvent | None, last: UserEvent) -> UserView:
    """Return the user after `found`, its event of that version; `last` is its last event.

    Raises `Rejected`: `user_erased`, `version_not_found` or `user_deleted`.
    """
    _refuse_erased(last)
    if found is None:
        raise Rejected(
            f"user {last['user_id']} has no version {version}; the last one is {last['version']}",
            code="version_not_found",
        )
    return _user_after(found)


def as_of_time(time: datetime, found: UserEvent | None, last: UserEvent) -> UserView:
    """Return the user after `found`, its last event up to `time`; `last` is its last event.

    Raises `Rejected`: `user_erased`, `user_not_yet_created` or `user_deleted`.
    """
    _refuse_erased(last)
    if found is None:
        raise Rejected(
            f"user {last['user_id']} did not exist yet at {iso_time(time)}",
            code="user_not_yet_created",
            next_step=f"`rollbook users history {last['user_id']}` shows when it was created",
        )
    return _user_after(found)


def _refuse_erased(last: UserEvent) -> None:
    if last["type"] == USER_ERASED:
        raise Rejected(
            f"user {last['user_id']} was erased at {iso_time(last['occurred_at'])}, "
            "with all its data",
            code="user_erased",
        )


def _user_after(event: UserEvent) -> UserView:
    user = event["user"]
    if user is None:
        raise Rejected(
            f"user {event['user_id']} was deleted at {iso_time(event['occurred_at'])}, "
            f"by version {event['version']}",
            code="user_deleted",
            next_step=f"--at-version {event['version'] - 1} shows the user before that",
        )
    return UserView(
        user_id=event["user_id"],
        email=user["email"],
        name=user["name"],
        age=user["age"],
        age_group=age_group(user["age"]),
        created_at=to_datetime(user["created_at"]),
        updated_at=to_datetime(event["occurred_at"]),
        version=event["version"],
    )
