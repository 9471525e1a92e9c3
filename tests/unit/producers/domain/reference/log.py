"""The topics as lists of bytes, and any compaction of them that a broker may legally make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from producers.domain.overlay import Overlay
from producers.domain.state import PartitionState
from schemas.coding.codec import RecordCodec
from schemas.records import CommandOutcome
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, HOPS, OUTCOMES
from schemas.trust import check_event
from tests.samples.codecs import codec


class Record(NamedTuple):
    """A record as the broker keeps it; its offset is where it was appended."""

    offset: int
    key: str
    value: bytes | None


class Window(NamedTuple):
    """The window of remembered outcomes: a number of commands and a time."""

    commands: int
    milliseconds: int


# By the name of each topic that a handler restores or writes.
CODECS: dict[str, RecordCodec[Any]] = {
    topic.name: codec(topic.schema) for topic in (COMMANDS, EVENTS, HISTORY, OUTCOMES, EMAILS, HOPS)
}


@dataclass
class PartitionLog:
    """One partition of every topic."""

    topics: dict[str, list[Record]] = field(default_factory=lambda: {name: [] for name in CODECS})

    def append(self, topic: str, key: str, record: Any | None) -> None:
        """Encode and append a record, None for a tombstone."""
        value = None if record is None else CODECS[topic].encode(record)
        records = self.topics[topic]
        records.append(Record(len(records), key, value))

    def commit(self, overlay: Overlay) -> None:
        """Append what the handler appends for an overlay, except its messages."""
        for event in overlay.events:
            self.append(EVENTS.name, event["user_id"], event)
            self.append(HISTORY.name, event["event_id"], event)
        for key in overlay.erased_history:
            self.append(HISTORY.name, key, None)
        for outcome in overlay.outcomes:
            self.append(OUTCOMES.name, outcome["command_id"], outcome)
        for key, claim in overlay.claims:
            self.append(EMAILS.name, key, claim)

    def compacted(self, topic: str, random: Random) -> list[Record]:
        """Return what a log cleaner may have left of a topic."""
        return compacted(self.topics[topic], random, random.choice((0.0, 0.5, 1.0)))

    def restore(self, state: PartitionState, window: Window, random: Random) -> None:
        """Restore a state from some legal compaction of this partition, as a handler does."""
        for record in self.compacted(EVENTS.name, random):
            event = CODECS[EVENTS.name].decode(record.value)
            check_event(event, record.key.encode(), state.partition, state.partitions)
            state.restore_event(event)
        for record in self.compacted(EMAILS.name, random):
            value = record.value
            claim = None if value is None else CODECS[EMAILS.name].decode(value)
            state.restore_claim(record.key, claim)
        for outcome in self._outcomes_of(window, random):
            state.restore_outcome(outcome)
        state.finish_restore()

    def _outcomes_of(self, window: Window, random: Random) -> list[CommandOutcome]:
        """Return the outcomes from a random place on, at or before the window's first."""
        within = [place for place, _outcome in self._within(window)]
        return self._outcomes()[random.randint(0, min(within, default=0)) :]

    def remembered(self, window: Window) -> set[str]:
        """Return the command ids whose answers a handler must know, whenever it started."""
        answers = [outcome for _place, outcome in self._within(window)]
        return {one["command_id"] for one in answers if one["code"] != "command_id_reused"}

    def _within(self, window: Window) -> list[tuple[int, CommandOutcome]]:
        outcomes = self._outcomes()
        offset = max((o["command_offset"] for o in outcomes), default=0) - window.commands
        time = max((o["decided_at"] for o in outcomes), default=0) - window.milliseconds
        return [
            (place, one)
            for place, one in enumerate(outcomes)
            if one["command_offset"] > offset or one["decided_at"] >= time
        ]

    def _outcomes(self) -> list[CommandOutcome]:
        decode = CODECS[OUTCOMES.name].decode
        return [decode(record.value) for record in self.topics[OUTCOMES.name]]


def compacted(records: Sequence[Record], random: Random, greed: float) -> list[Record]:
    """Return what a log cleaner may have left, at the same offsets.

    It keeps the last record of each key and any subset of the superseded ones, fewer with more
    `greed`; it may remove a tombstone once nothing before it is left. Records after a random place
    are not cleaned yet.
    """
    cleaned = random.randint(0, len(records))
    last = {record.key: record.offset for record in records[:cleaned]}
    left: list[Record] = []
    kept: set[str] = set()
    for place, record in enumerate(records):
        superseded = place < cleaned and last[record.key] != record.offset
        bare = place < cleaned and record.value is None and record.key not in kept
        if (superseded or bare) and random.random() < greed:
            continue
        kept.add(record.key)
        left.append(record)
    return left


def contents(state: PartitionState, command_ids: Iterable[str]) -> dict[str, Any]:
    """Return everything that the next answers depend on."""
    answers = {
        command_id: [answer[name] for name in ("status", "code", "user_id", "version", "seq")]
        + [answer["digest"]]
        for command_id in command_ids
        if (answer := state.window.get(command_id)) is not None
    }
    return {
        "users": state.users,
        "emails": state.emails,
        "claims": state.claims,
        "seq": state.last_seq,
        "answers": answers,
    }
