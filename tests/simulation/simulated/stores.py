"""Read models in memory that keep the promises of the real ones, and no more.

Each calls `point` where a process can die, stall or lose its server.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Literal

from projectors.contract.read_model import READY, Batch, Position, Row, Version
from projectors.contract.source import LATEST_STATE, WHOLE_HISTORY, Source
from schemas.errors import Fenced
from schemas.records import UserEvent

# What is stored of a user or an event: version, e-mail, name, age; without the last three if gone.
Stored = tuple[Any, ...]
_SNAPSHOTS = 4


def stored(event: UserEvent) -> Stored:
    """Return what is stored of an event."""
    user = event["user"]
    fields = (user["email"], user["name"], user["age"]) if user else ()
    return (event["version"], *fields)


class UsersStore:
    """The latest state of each user; rows and checkpoint change in one transaction."""

    name = "users"
    version = 1
    source: Source = LATEST_STATE
    lost_in_a_crash: tuple[str, ...] = ("users", "positions")

    def __init__(self, point: Callable[[str], str | None] = lambda _: None) -> None:
        self.point = point
        self.users: dict[str, Stored] = {}
        self.positions: dict[int, Position] = {}
        self.snapshots: list[dict[str, Any]] = []

    def checkpoint(self) -> dict[int, Position]:
        return dict(self.positions)

    def write(self, batch: Batch) -> None:
        self.point("before write")
        self._check(batch)
        if batch.events:
            self._snapshot()
        self._apply(batch)
        self._advance(batch)
        self.point("after write")

    def _check(self, batch: Batch) -> None:
        """Compare each checkpoint with where the batch begins."""
        for partition, advance in batch.advances.items():
            if self.positions.get(partition) != advance.before:
                raise Fenced("the checkpoint is elsewhere")

    def _advance(self, batch: Batch) -> None:
        self.positions.update({p: advance.after for p, advance in batch.advances.items()})

    def _apply(self, batch: Batch) -> None:
        for event in batch.events:
            known = self.users.get(event["user_id"])
            if known is None or self._is_newer(event, known):
                self.users[event["user_id"]] = stored(event)

    def _is_newer(self, event: UserEvent, known: Stored) -> bool:
        return bool(event["version"] > known[0])

    def _snapshot(self) -> None:
        self.snapshots.append({name: deepcopy(vars(self)[name]) for name in self.lost_in_a_crash})
        del self.snapshots[:-_SNAPSHOTS]

    def rewind(self, steps: int) -> bool:
        """Lose the latest transactions, as PostgreSQL may in a crash."""
        if not self.snapshots:
            return False
        vars(self).update(self.snapshots[-1 - steps % len(self.snapshots)])
        self.snapshots = []
        return True

    def read(self, user_id: str) -> Stored | None:
        """Return what a query sees of a user."""
        return self.users.get(user_id)

    def make_visible(self) -> None:
        """Do nothing: everything is visible at once."""

    def row_of(self, event: UserEvent) -> Row:
        return event["user_id"], stored(event)

    def rows(self) -> Iterator[Sequence[Row]]:
        yield list(self.users.items())

    def close(self) -> None:
        """Do nothing."""


class SearchStore(UsersStore):
    """Documents first, then the checkpoint; queries see what the last refresh showed."""

    name = "search"

    def __init__(self, point: Callable[[str], str | None] = lambda _: None) -> None:
        super().__init__(point)
        self._visible: dict[str, Stored] = {}

    def write(self, batch: Batch) -> None:
        self._check(batch)
        self.point("before write")
        self._apply(batch)
        self.point("before checkpoint")
        self._check(batch)
        self._advance(batch)
        self.point("after write")

    def read(self, user_id: str) -> Stored | None:
        return self._visible.get(user_id)

    def make_visible(self) -> None:
        self._visible = dict(self.users)


class HistoryStore(UsersStore):
    """Every event; of an erased user only the erasure."""

    name = "history"
    source = WHOLE_HISTORY
    lost_in_a_crash = ("events", "_erased_at", "positions")

    def __init__(self, point: Callable[[str], str | None] = lambda _: None) -> None:
        super().__init__(point)
        self.events: dict[str, dict[int, Stored]] = {}
        self._erased_at: dict[str, int] = {}

    def _apply(self, batch: Batch) -> None:
        for user_id, version in batch.removed:
            self.events.get(user_id, {}).pop(version, None)
        for event in batch.events:
            user_id, version = event["user_id"], event["version"]
            kept = self.events.setdefault(user_id, {})
            if event["type"] == "UserErased":
                self._erased_at[user_id] = version
                for older in [one for one in kept if one < version]:
                    del kept[older]
            if version >= self._erased_at.get(user_id, 0):
                kept.setdefault(version, stored(event))

    def read(self, user_id: str) -> Stored | None:
        kept = self.events.get(user_id)
        return kept[max(kept)] if kept else None

    def rows(self) -> Iterator[Sequence[Row]]:
        yield [(user, one) for user, kept in self.events.items() for one in kept.values()]


STORES: dict[str, type[UsersStore]] = {
    one.name: one for one in (UsersStore, SearchStore, HistoryStore)
}


class OneVersion:
    """The versions of a read model of which there is one, live."""

    def __init__(self, store: UsersStore) -> None:
        self.name = store.name
        self.source = store.source
        self._store = store

    def versions(self) -> list[Version]:
        ready: Literal["ready"] = READY
        return [Version(1, ready, live=True, created_at=0, live_since=0)]

    def open(self, _number: int) -> UsersStore:
        return self._store

    def close(self) -> None:
        """Do nothing."""
