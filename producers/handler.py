"""The command handler: one writer per partition, deciding commands exactly once.

Input offsets, events, history and outcomes are committed in one Kafka transaction (KIP-98), fenced
by the group's generation (KIP-447): a process that lost a partition cannot commit for it.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, Message

from producers.decisions import Decisions
from producers.group import GROUP, refuse_twin
from producers.ownership import Ownership
from producers.transaction import IndefiniteError, Transactions
from runtime.process import Backoff, StopSignal
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Poisoned
from schemas.records import DeadLetter, UserCommand
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HISTORY, OUTCOMES

log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.2


@dataclass(slots=True)
class _Work:
    """What one transaction will hold."""

    decisions: dict[int, Decisions] = field(default_factory=dict)
    next_offsets: dict[int, int] = field(default_factory=dict)
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
        self._letters = registry.codec(DEAD_LETTERS.schema)
        self._backoff = Backoff()
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
            self._settings.batch_commands, 0.0 if restoring else _IDLE_SECONDS
        )
        consumer = self._ownership.consumer
        metadata = consumer.consumer_group_metadata() if messages else None
        # Without a member id the group has dropped us: what was taken is another's to decide.
        if not messages or not consumer.memberid():
            return 0
        work = self._decide(messages)
        try:
            return len(messages) if self._commit(work, metadata) else 0
        except IndefiniteError:
            log.warning("whether a transaction was committed is not known: reading it from the log")
            self._transactions.begin_anew()
            self._ownership.begin_anew()
            return 0

    def _decide(self, messages: list[Message]) -> _Work:
        now = time.time_ns() // 1_000_000
        work = _Work()
        for message in messages:
            number, offset = message.partition() or 0, message.offset() or 0
            decisions = work.decisions.get(number)
            if decisions is None:
                state = self._ownership.partitions[number].state
                if state is None:
                    raise AssertionError("a batch holds only partitions that are ready")
                decisions = work.decisions[number] = Decisions(
                    state, number, self._settings.partitions, now=now
                )
            work.next_offsets[number] = offset + 1
            try:
                record: UserCommand = self._commands.decode(message.value())
                decisions.decide(offset, record)
            except Poisoned as poisoned:
                work.dead_letters.append(self._letter(number, offset, poisoned, now))
        return work

    def _letter(self, number: int, offset: int, poisoned: Poisoned, now: int) -> DeadLetter:
        topic = self._ownership.topic
        log.warning("dead letter: %s partition %d offset %d: %s", topic, number, offset, poisoned)
        return {
            "topic": topic,
            "partition": number,
            "offset": offset,
            "reader": "handler",
            "error": poisoned.code,
            "message": str(poisoned),
            "occurred_at": now,
        }

    def _commit(self, work: _Work, metadata: Any) -> bool:
        """Commit `work` and fold it in, or drop it and go back to its first commands: False.

        Raises `IndefiniteError` if what became of it is not known, `Fenced` if another process took
        over.
        """
        try:
            self._transactions.commit(
                self._records(work), self._ownership.topic, work.next_offsets, metadata
            )
        except KafkaException as error:
            self._transactions.abort(error)
            log.warning("transaction aborted, deciding again: %s", error.args[0].str())
            for number in work.next_offsets:
                self._ownership.rewind(number)
            self._stop.wait(self._backoff.next_seconds())
            return False
        for decisions in work.decisions.values():
            decisions.fold()
        for number, offset in work.next_offsets.items():
            self._ownership.partitions[number].next_offset = offset
        self._backoff.reset()
        return True

    def _records(self, work: _Work) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
        """Yield what to produce; an event is encoded once for its two topics."""
        for number, decisions in work.decisions.items():
            values = [self._events.encode(event) for event in decisions.events]
            if values:
                events = zip(decisions.events, values, strict=True)
                latest = [{"key": event["user_id"], "value": value} for event, value in events]
                events = zip(decisions.events, values, strict=True)
                every = [{"key": event["event_id"], "value": value} for event, value in events]
                yield self._settings.named(EVENTS.name), number, latest
                yield self._settings.named(HISTORY.name), number, every
            outcomes = [
                {"key": outcome["command_id"], "value": self._outcomes.encode(outcome)}
                for outcome in decisions.outcomes
            ]
            if outcomes:
                yield self._settings.named(OUTCOMES.name), number, outcomes
        letters = [
            {
                "key": f"{letter['topic']}:{letter['partition']}:{letter['offset']}",
                "value": self._letters.encode(letter),
            }
            for letter in work.dead_letters
        ]
        if letters:
            yield self._settings.named(DEAD_LETTERS.name), 0, letters
