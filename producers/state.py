"""What the handler knows of one partition: its users, who holds which address, what was decided.

The state is a fold of the log and nothing else: restored from it at start, forgotten when the
partition goes. Live and restored it is folded by the same methods, so the two agree.
"""

from collections import deque
from typing import NamedTuple

from schemas.records import CommandOutcome, User, UserEvent


class Held(NamedTuple):
    """One user as kept in memory: a flat tuple, a third of the size of the event's dictionaries.

    `email` is None once the user is gone; version and seq are of the last event.
    """

    version: int
    seq: int
    command_id: str
    email: str | None
    email_key: str
    name: str
    age: int
    created_at: int
    created_by: str

    def user(self) -> User | None:
        """Return the user's state, None once gone."""
        if self.email is None:
            return None
        return {
            "email": self.email,
            "email_key": self.email_key,
            "name": self.name,
            "age": self.age,
            "created_at": self.created_at,
            "created_by": self.created_by,
        }


def held(event: UserEvent) -> Held:
    """Return what is kept of a user after `event`; equal strings are shared."""
    user, command_id = event["user"], event["command_id"]
    if user is None:
        return Held(event["version"], event["seq"], command_id, None, "", "", 0, 0, "")
    email, key, created_by = user["email"], user["email_key"], user["created_by"]
    return Held(
        event["version"],
        event["seq"],
        command_id,
        email,
        email if key == email else key,
        user["name"],
        user["age"],
        user["created_at"],
        command_id if created_by == command_id else created_by,
    )


class OutcomeWindow:
    """The latest outcomes by command id, so that a repeated command gets the same answer.

    Bounded by the log alone (how far an outcome's command lies behind the latest one, in offsets
    and in time), so that a restored window equals the live one.
    """

    def __init__(self, most_commands: int, most_ms: int) -> None:
        self._most_commands = most_commands
        self._most_ms = most_ms
        self._by_id: dict[str, CommandOutcome] = {}
        self._order: deque[CommandOutcome] = deque()
        self.last_offset = -1
        self.last_decided_at = 0

    def get(self, command_id: str) -> CommandOutcome | None:
        """Return the first outcome of `command_id` within the window."""
        return self._by_id.get(command_id)

    def add(self, outcome: CommandOutcome) -> None:
        """Remember `outcome` (the first of its id stays) and forget what is too old."""
        self.last_offset = max(self.last_offset, outcome["command_offset"])
        self.last_decided_at = max(self.last_decided_at, outcome["decided_at"])
        if outcome["command_id"] not in self._by_id:
            self._by_id[outcome["command_id"]] = outcome
            self._order.append(outcome)
        oldest_offset = self.last_offset - self._most_commands
        oldest_ms = self.last_decided_at - self._most_ms
        while self._order and (
            self._order[0]["command_offset"] <= oldest_offset
            or self._order[0]["decided_at"] < oldest_ms
        ):
            del self._by_id[self._order.popleft()["command_id"]]

    def __len__(self) -> int:
        return len(self._by_id)


class PartitionState:
    """The fold of one partition of the log.

    `emails` maps an address's key to the live user who holds it. While restoring it is not kept:
    folding through a half-cleaned log could free an address that a later state holds, so
    `index_emails` builds it from the final states.
    """

    def __init__(self, window: OutcomeWindow) -> None:
        self.users: dict[str, Held] = {}
        self.emails: dict[str, str] = {}
        self.window = window
        self.last_seq = 0
        self.last_time = 0

    def restore_event(self, event: UserEvent) -> None:
        """Fold an event read from the log; `index_emails` must follow the last one."""
        before = self.users.get(event["user_id"])
        # As the read models do: an older version after a newer one was not put there by us.
        if before is None or before.version < event["version"]:
            self.users[event["user_id"]] = held(event)
        self.last_seq = max(self.last_seq, event["seq"])
        self.last_time = max(self.last_time, event["occurred_at"])

    def restore_outcome(self, outcome: CommandOutcome) -> None:
        """Fold an outcome read from the log."""
        self.window.add(outcome)
        # The last events may have been superseded and cleaned; the outcomes still know the seq.
        self.last_seq = max(self.last_seq, outcome["seq"] or 0)
        self.last_time = max(self.last_time, outcome["decided_at"])

    def index_emails(self) -> None:
        """Build the e-mail index from the users' final states."""
        self.emails = {
            user.email_key: user_id
            for user_id, user in self.users.items()
            if user.email is not None
        }
