"""The command handler: one writer per partition, deciding commands exactly once.

Input offsets, events, history and outcomes are committed in one Kafka transaction (KIP-98), fenced
by the group's generation (KIP-447): a process that lost a partition cannot commit for it.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, Message, TopicPartition

from producers.domain.address_change import apply_message, has_open_grants, resend_open_grants
from producers.domain.decisions import decide_command
from producers.domain.overlay import Overlay
from producers.handler.group import GROUP, refuse_twin
from producers.handler.idle_segments import COMPACTED, Housekeeping
from producers.handler.ownership import Ownership
from producers.handler.pace import Pace
from producers.handler.transaction import IndefiniteError, Transactions
from runtime.process import Backoff, StopSignal
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.topic_admin import roll_after_ms
from schemas.errors import Poisoned
from schemas.letters import HANDLER, letter_key, letter_of
from schemas.records import AddressMessage, DeadLetter
from schemas.topics import COMMANDS, DEAD_LETTERS, EMAILS, EVENTS, HISTORY, HOPS, OUTCOMES, Topic

log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.2


@dataclass(slots=True)
class _Work:
    """What one transaction will hold."""

    overlays: dict[int, Overlay] = field(default_factory=dict)
    next_offsets: dict[int, dict[str, int]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class CommandHandler:
    """Decides the commands of the partitions that the group gives it.

    `instance` is its stable identity (static membership, KIP-345, and transactional id): started
    again under the same name it fences its own past and takes its partitions back at once.
    """

    def __init__(
        self, settings: Settings, registry: Registry, instance: str, stop: StopSignal
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._commands = registry.codec(COMMANDS.schema)
        self._events = registry.codec(EVENTS.schema)
        self._outcomes = registry.codec(OUTCOMES.schema)
        self._claims = registry.codec(EMAILS.schema)
        self._hops = registry.codec(HOPS.schema)
        self._letters = registry.codec(DEAD_LETTERS.schema)
        self._backoff = Backoff()
        self._pace = Pace(settings.batch_commands, settings.batch_seconds)
        self._housekeeping = Housekeeping(roll_after_ms(settings, COMPACTED))
        identity = settings.named(f"{GROUP}-{instance}")
        refuse_twin(settings, identity, stop)
        # Fence our own past before anything is read or subscribed.
        self._transactions = Transactions(settings, identity, stop)
        self._ownership = Ownership(settings, registry, identity, stop)

    def run(self) -> None:
        """Decide until asked to stop.

        Raises `Fenced` or `Misconfigured` when it must not go on; anything a server may recover
        from is waited for here, with the partition's place in the log kept.
        """
        try:
            while not self._stop:
                self.run_once()
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading; what was not committed is decided again by whoever comes next."""
        self._ownership.close()

    def run_once(self) -> int:
        """Restore a little, then decide one batch; return how many commands were committed.

        1. Take what has arrived. 2. Take the group's metadata with it: a later call may already
        speak for a newer generation. 3. Decide on an overlay. 4. Commit. 5. Fold the overlay in.
        """
        restoring = self._ownership.restore_step()
        messages = self._ownership.take(
            self._pace.most, self._settings.batch_bytes, 0.0 if restoring else _IDLE_SECONDS
        )
        consumer = self._ownership.consumer
        metadata = consumer.consumer_group_metadata()
        # Without a member id the group has dropped us: what was taken is another's to decide.
        if not consumer.memberid():
            return 0
        began = time.monotonic()
        work = self._decide(messages)
        if not work.overlays:
            self._keep_house()
            return 0
        try:
            if not self._commit(work, metadata):
                return 0
        except IndefiniteError:
            log.warning("whether a transaction was committed is not known: reading it from the log")
            self._transactions.begin_anew()
            self._ownership.begin_anew()
            return 0
        self._pace.committed(len(messages), time.monotonic() - began)
        return len(messages)

    def _keep_house(self) -> None:
        """Close the last segments of partitions that fell silent."""
        last = {
            number: owned.state.last_time
            for number, owned in self._ownership.partitions.items()
            if owned.state is not None
        }
        places = self._housekeeping.due(last, time.time_ns() // 1_000_000)
        if not places:
            return
        try:
            appended = self._transactions.append_aborted(places)
        except IndefiniteError:
            self._transactions.begin_anew()
            return
        if appended:
            self._housekeeping.done(places, last)
            log.info("closed the segments of %d silent partitions", len(places))

    def _decide(self, messages: list[Message]) -> _Work:
        work, now = _Work(), time.time_ns() // 1_000_000
        self._send_grants_again(work, now)
        for message in messages:
            number, offset = message.partition() or 0, message.offset() or 0
            topic, overlay = message.topic() or "", self._overlay(work, number, now)
            work.next_offsets[number][topic] = offset + 1
            try:
                if topic == self._ownership.topic:
                    decide_command(overlay, offset, self._commands.decode(message.value()))
                else:
                    apply_message(overlay, self._hops.decode(message.value()))
            except Poisoned as poisoned:
                work.dead_letters.append(_letter(topic, number, offset, poisoned, now))
        return work

    def _overlay(self, work: _Work, number: int, now: int) -> Overlay:
        overlay = work.overlays.get(number)
        if overlay is None:
            owned = self._ownership.partitions[number]
            if owned.state is None:
                raise AssertionError("a batch holds only partitions that are ready")
            overlay = work.overlays[number] = Overlay(owned.state, now=now)
            # Both offsets, always: one alone would look like the other's loss.
            work.next_offsets[number] = dict(owned.next_offsets)
        return overlay

    def _send_grants_again(self, work: _Work, now: int) -> None:
        for number, owned in self._ownership.partitions.items():
            if owned.state is None or not owned.has_open_grants:
                continue
            if has_open_grants(owned.state):
                resend_open_grants(self._overlay(work, number, now))
            else:
                owned.has_open_grants = False

    def _commit(self, work: _Work, metadata: Any) -> bool:
        """Commit `work` and fold it in, or drop it and go back to its first commands: False.

        Raises `IndefiniteError` if what became of it is not known, `Fenced` if another process took
        over.
        """
        offsets = [
            TopicPartition(topic, number, offset)
            for number, next_offsets in work.next_offsets.items()
            for topic, offset in next_offsets.items()
        ]
        try:
            self._transactions.commit(self._records(work), offsets, metadata)
        except KafkaException as error:
            self._transactions.abort(error)
            log.warning("transaction aborted, deciding again: %s", error.args[0].str())
            for number in work.overlays:
                self._ownership.rewind(number)
            self._stop.wait(self._backoff.next_seconds())
            return False
        for number, overlay in work.overlays.items():
            overlay.fold()
            owned = self._ownership.partitions[number]
            owned.next_offsets, owned.has_open_grants = work.next_offsets[number], False
        self._backoff.reset()
        return True

    def _records(self, work: _Work) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
        """Yield what to produce: topic, partition, records."""
        for number, overlay in work.overlays.items():
            for topic, records in self._records_of(overlay):
                if records:
                    yield self._settings.named(topic.name), number, records
        for number, hops in _by_partition(work):
            records = [{"key": hop["claim_id"], "value": self._hops.encode(hop)} for hop in hops]
            yield self._settings.named(HOPS.name), number, records
        letters = [
            {"key": letter_key(letter), "value": self._letters.encode(letter)}
            for letter in work.dead_letters
        ]
        if letters:
            yield self._settings.named(DEAD_LETTERS.name), 0, letters

    def _records_of(self, overlay: Overlay) -> Iterator[tuple[Topic, list[dict[str, Any]]]]:
        """Yield what stays in the overlay's partition; an event is encoded once for two topics."""
        latest: list[dict[str, Any]] = []
        every: list[dict[str, Any]] = []
        for event in overlay.events:
            value = self._events.encode(event)
            latest.append({"key": event["user_id"], "value": value})
            every.append({"key": event["event_id"], "value": value})
        # Tombstones: nothing of an erased user's past stays in the audit trail.
        every += [{"key": key, "value": None} for key in overlay.erased_history]
        yield EVENTS, latest
        yield HISTORY, every
        encode = self._outcomes.encode
        yield OUTCOMES, [{"key": o["command_id"], "value": encode(o)} for o in overlay.outcomes]
        yield (
            EMAILS,
            [
                {"key": claim_id, "value": None if claim is None else self._claims.encode(claim)}
                for claim_id, claim in overlay.claims
            ],
        )


def _by_partition(work: _Work) -> Iterator[tuple[int, list[AddressMessage]]]:
    """Yield the hops for each partition, those of one sender in the order they were sent."""
    hops: dict[int, list[AddressMessage]] = {}
    for overlay in work.overlays.values():
        for number, hop in overlay.messages:
            hops.setdefault(number, []).append(hop)
    yield from hops.items()


def _letter(topic: str, number: int, offset: int, poisoned: Poisoned, now: int) -> DeadLetter:
    log.warning("dead letter: %s partition %d offset %d: %s", topic, number, offset, poisoned)
    return letter_of(topic, number, offset, reader=HANDLER, poison=poisoned, now=now)
