"""What a read model reads: one of the two topics of events, and which of its events it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas.records import UserEvent
from schemas.topics import EVENTS, HISTORY, Topic
from schemas.trust import check_event, check_history_event


@dataclass(frozen=True, slots=True)
class Source:
    """A topic of events as a read model sees it.

    `check(event, key, partition, partitions)` raises `Poisoned` for an event that no handler can
    have written there. With `every_event` each event is applied, and a tombstone removes the event
    under its key. Without, only the last event of a user matters, and a tombstone is poisoned.
    """

    topic: Topic
    check: Callable[[UserEvent, bytes | None, int, int], None]
    every_event: bool


LATEST_STATE: Final = Source(EVENTS, check_event, every_event=False)
WHOLE_HISTORY: Final = Source(HISTORY, check_history_event, every_event=True)
