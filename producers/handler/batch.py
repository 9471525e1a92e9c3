"""The content of one transaction: what a batch of messages changes, and the records that say so.

Nothing here reads or writes the log, so a batch that is aborted is simply dropped.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Message, TopicPartition

from producers.domain.address_change import apply_message, resend_open_grants
from producers.domain.decisions import decide_command
from producers.domain.overlay import Overlay
from producers.handler.clients import Codecs
from producers.handler.partitions.partition import Deciding
from runtime.settings import Settings
from schemas.errors import Poisoned, Unavailable
from schemas.formats import LATEST_FORMAT
from schemas.letters import HANDLER, letter_key, letter_of
from schemas.positions import POSITION_KEY, Position, encode_position
from schemas.records import CHANGE_EMAIL, CommandOutcome, DeadLetter, UserCommand
from schemas.topics import COMMANDS, DEAD_LETTERS, EMAILS, EVENTS, HISTORY, HOPS, OUTCOMES, Topic

log = logging.getLogger(__name__)

# An erasure writes one for each version of its user; with many, a batch would never commit in time.
MOST_TOMBSTONES = 50_000

# Topic, partition and the messages for it, as `Producer.produce_batch` takes them.
Records = tuple[str, int, list[dict[str, Any]]]


class Batch:
    """Decides messages on overlays over the states of `ready` partitions, all at time `now` (ms).

    It is false while there is nothing to commit. Call `fold` once `records` and `offsets` are
    committed: it merges the overlays into the states. The log then has the positions `recorded`,
    for each partition in `next_offsets`. `answers` needs `tallies`.
    """

    def __init__(
        self,
        ready: Mapping[int, Deciding],
        settings: Settings,
        codecs: Codecs,
        now: int,
        *,
        tallies: bool = False,
    ) -> None:
        self._ready = ready
        self._settings = settings
        self._codecs = codecs
        self._now = now
        self._commands_topic = settings.named(COMMANDS.name)
        self._messages_topic = settings.named(HOPS.name)
        self._overlays: dict[int, Overlay] = {}
        self._letters: list[DeadLetter] = []
        self._tombstones = 0
        self.next_offsets: dict[int, dict[str, int]] = {}
        # Partitions with messages that were left for a later batch: read them again.
        self.deferred: set[int] = set()
        self.decided = 0
        # The kind of the command that each outcome of an overlay answers.
        self._kinds: dict[int, list[str]] | None = defaultdict(list) if tallies else None

    def __bool__(self) -> bool:
        return bool(self.next_offsets)

    def _overlay(self, number: int) -> Overlay:
        overlay = self._overlays.get(number)
        if overlay is None:
            ready = self._ready[number]
            overlay = self._overlays[number] = Overlay(
                ready.state,
                now=self._now,
                most_lead_ms=int(self._settings.clock_lead_seconds * 1000),
            )
            # Both offsets, always: one alone would look as if the other had been lost.
            self.next_offsets[number] = dict(ready.next_offsets)
        return overlay

    def resend_open_grants(self) -> None:
        """Resend the grants that predecessors left open in partitions just restored."""
        for number, ready in self._ready.items():
            if ready.resend_grants:
                resend_open_grants(self._overlay(number))

    def decide(self, message: Message) -> None:
        """Decide a command or apply an address message; a poisoned one becomes a dead letter.

        Defers its partition if it must be decided later: its schema is not known yet, or the batch
        has as many records as can be committed in time.
        """
        topic, number = message.topic() or "", message.partition() or 0
        offset, value = message.offset() or 0, message.value()
        if self._tombstones >= MOST_TOMBSTONES:
            self.deferred.add(number)
        if number in self.deferred:
            return
        try:
            if topic == self._commands_topic:
                command = self._codecs.commands.decode(value)
                self._decide_command(self._overlay(number), offset, command)
                kind = command["kind"]
            else:
                address_message = self._codecs.address_messages[LATEST_FORMAT].decode(value)
                apply_message(self._overlay(number), address_message)
                kind = CHANGE_EMAIL
            if self._kinds is not None and (kind != CHANGE_EMAIL or self._is_answered(number)):
                self._kinds[number].append(kind)
        except Unavailable as error:
            log.debug(
                "partition %d waits at offset %d of %s: %s",
                *(number, offset, topic, error),
                extra={"partition": number},
            )
            self.deferred.add(number)
            return
        except Poisoned as poisoned:
            self._letters.append(_letter(topic, number, offset, poisoned, self._now))
        self._overlay(number)
        self.next_offsets[number][topic] = offset + 1
        self.decided += 1

    def _decide_command(self, overlay: Overlay, offset: int, command: UserCommand) -> None:
        before = len(overlay.erased_history)
        decide_command(overlay, offset, command)
        self._tombstones += len(overlay.erased_history) - before

    def _is_answered(self, number: int) -> bool:
        """Return whether the last input made an outcome; a change sent to another partition not."""
        kinds = self._kinds or {}
        return len(self._overlays[number].outcomes) > len(kinds.get(number, ()))

    def answers(self) -> Iterator[tuple[list[str], list[CommandOutcome]]]:
        """Yield by partition the kinds of the answered commands and their outcomes, in order."""
        for number, kinds in (self._kinds or {}).items():
            yield kinds, self._overlays[number].outcomes

    def lead_ms(self) -> int:
        """Return how far the records of the batch are stamped ahead of this machine's clock."""
        return max((one.now for one in self._overlays.values()), default=self._now) - self._now

    def confirm(self, number: int, next_offsets: Mapping[str, int]) -> None:
        """Commit the offsets of an idle partition again, and record its position if that is new."""
        self.next_offsets[number] = dict(next_offsets)

    @property
    def recorded(self) -> dict[int, Position | None]:
        """Return by partition the position that the log has after this batch."""
        return {
            number: self._new_position(number) or self._ready[number].recorded
            for number in self.next_offsets
        }

    def _new_position(self, number: int) -> Position | None:
        """Return the position to record with a partition's decisions, None if none is needed.

        The outcomes of commands show how far these are decided, which saves most records.
        """
        ready, overlay = self._ready[number], self._overlays.get(number)
        offsets = self.next_offsets[number]
        position = Position(
            offsets[self._commands_topic],
            offsets[self._messages_topic],
            ready.state.last_seq if overlay is None else overlay.seq,
        )
        if overlay is None or ready.recorded is None:
            return None if position == ready.recorded else position
        outcomes = overlay.outcomes
        shown = outcomes[-1]["command_offset"] + 1 if outcomes else None
        has_moved = {topic for topic, one in offsets.items() if one != ready.next_offsets[topic]}
        is_shown = self._commands_topic not in has_moved or shown == position.commands
        return None if is_shown and self._messages_topic not in has_moved else position

    def offsets(self) -> list[TopicPartition]:
        """Return the offsets to commit."""
        return [
            TopicPartition(topic, number, offset)
            for number, next_offsets in self.next_offsets.items()
            for topic, offset in next_offsets.items()
        ]

    def records(self) -> Iterator[Records]:
        """Yield what to produce."""
        named, codecs = self._settings.named, self._codecs
        for number, overlay in self._overlays.items():
            for topic, records in self._local_records(overlay):
                if records:
                    yield named(topic.name), number, records
        yield from self._positions()
        for number, records in self._address_messages().items():
            yield named(HOPS.name), number, records
        if self._letters:
            encode = codecs.letters.encode
            letters = [{"key": letter_key(one), "value": encode(one)} for one in self._letters]
            yield named(DEAD_LETTERS.name), 0, letters

    def _positions(self) -> Iterator[Records]:
        """Yield the positions to record, after the claims that were decided before them."""
        for number in self.next_offsets:
            position = self._new_position(number)
            if position is not None:
                record = {"key": POSITION_KEY, "value": encode_position(position)}
                yield self._settings.named(EMAILS.name), number, [record]

    def _local_records(self, overlay: Overlay) -> Iterator[tuple[Topic, list[dict[str, Any]]]]:
        """Yield what stays in the overlay's partition; an event is encoded once for two topics."""
        codecs = self._codecs
        latest: list[dict[str, Any]] = []
        every: list[dict[str, Any]] = []
        if overlay.mark is not None:
            latest.append({"key": overlay.mark_key, "value": codecs.marks.encode(overlay.mark)})
        encode_event = codecs.events[overlay.format].encode
        for event in overlay.events:
            value = encode_event(event)
            latest.append({"key": event["user_id"], "value": value})
            every.append({"key": event["event_id"], "value": value})
        # Tombstones: nothing of an erased user's past stays in the audit trail.
        every += [{"key": key, "value": None} for key in overlay.erased_history]
        yield EVENTS, latest
        yield HISTORY, every
        encode_outcome = codecs.outcomes.encode
        outcomes = [
            {"key": one["command_id"], "value": encode_outcome(one)} for one in overlay.outcomes
        ]
        yield OUTCOMES, outcomes
        claims = [
            {"key": claim_id, "value": None if claim is None else codecs.claims.encode(claim)}
            for claim_id, claim in overlay.claims
        ]
        yield EMAILS, claims

    def _address_messages(self) -> dict[int, list[dict[str, Any]]]:
        """Return the address messages by receiver, those of one sender in the order sent."""
        by_partition: dict[int, list[dict[str, Any]]] = {}
        for overlay in self._overlays.values():
            encode = self._codecs.address_messages[overlay.format].encode
            for number, message in overlay.messages:
                record = {"key": message["claim_id"], "value": encode(message)}
                by_partition.setdefault(number, []).append(record)
        return by_partition

    def fold(self) -> None:
        """Merge the overlays into the states: their records are on the log now."""
        for overlay in self._overlays.values():
            overlay.fold()

    def drop(self, why: str) -> None:
        """Note that the batch was not committed, or perhaps not: it is decided again."""


def _letter(topic: str, number: int, offset: int, poisoned: Poisoned, now: int) -> DeadLetter:
    log.warning(
        "dead letter: %s partition %d offset %d: %s",
        *(topic, number, offset, poisoned),
        extra={"partition": number},
    )
    return letter_of(topic, number, offset, reader=HANDLER, poison=poisoned, now=now)
