"""Replays `user-history`: folded from the start, it must give the state that each event carries.

This is what makes the history the source of truth and the carried state a convenience: a wrong
state, or a change that an event omits, is found here.
"""

from typing import get_args

from producers.domain.aggregate import evolve
from schemas.records import EventType, User, UserEvent

_TYPES = frozenset(get_args(EventType))


class Replay:
    """The users of one partition after the events so far. Pass it events in the log's order."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._users: dict[str, User | None] = {}

    def agrees(self, event: UserEvent) -> bool | None:
        """Return whether the fold gives the state that `event` carries; None if that is unknown.

        It is unknown across a gap (an erased past) and for event types of a newer release. Other
        checks cover both; the fold continues from the carried state.
        """
        user_id, version = event["user_id"], event["version"]
        follows = self._versions.get(user_id, 0) == version - 1
        before = self._users.get(user_id)
        self._versions[user_id], self._users[user_id] = version, event["user"]
        if not follows or event["type"] not in _TYPES:
            return None
        try:
            return evolve(before, event) == event["user"]
        except AssertionError:  # an update without a user, a change of address that leaves no user
            return False
