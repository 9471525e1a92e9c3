"""Handlers over the in-memory log, stepped by a test: no broker, no waiting, no threads to race."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from producers.handler.batch import Batch
from producers.handler.clients import Codecs
from producers.handler.loop import CommandHandler
from producers.handler.metrics.meter import Meter
from producers.handler.open_segments import SegmentRoller
from producers.handler.opening import RestoreOpener
from producers.handler.partitions.ownership import Ownership
from producers.handler.transaction import Transactions
from producers.handler.watchdog import Watchdog
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.formats import is_mark_key
from schemas.identity import email_shard, partition_of, user_shard
from schemas.records import LogFormat, UserCommand
from schemas.topics import (
    COMMANDS,
    EMAILS,
    EVENTS,
    HISTORY,
    HOPS,
    OUTCOMES,
    TOPICS,
    Topic,
)
from scripts.verify.reader import is_position
from tests.observed.log import assert_decided_once
from tests.samples.codecs import codec
from tests.samples.given import PARTITIONS, create
from tests.unit.producers.domain.reference.log import PartitionLog, Record, Window
from tests.unit.producers.domain.reference.verify import verified
from tests.unit.producers.handler.in_memory.clients import MemoryClients
from tests.unit.producers.handler.in_memory.group import MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryLog

MOST_STEPS = 500
WINDOW = Window(20_000, 300_000)
Headers = Sequence[tuple[str, bytes]]
_WATCHDOG = Watchdog(60)


class Killed(BaseException):
    """The end of a process; the code under test does not catch it."""


class _NeverWaits(StopSignal):
    """A stop signal whose pauses all end at once."""

    def wait(self, _seconds: float) -> bool:
        return bool(self)


class Cluster:
    """A log with all topics, the handlers' group, and the handlers that were started on it."""

    def __init__(self, **settings: Any) -> None:
        timeout_seconds = settings.get("transaction_timeout_seconds", 10.0)
        settings = {"batch_seconds": min(0.5, timeout_seconds / 2), **settings}
        self.settings = Settings(partitions=PARTITIONS, **settings)
        self.log = MemoryLog(
            {topic.name: 1 if topic.one_partition else PARTITIONS for topic in TOPICS}
        )
        self.group = MemoryGroup(self.log, "rollbook-handler", PARTITIONS)
        self.codecs = Codecs.of(codec)
        self.clients: dict[str, MemoryClients] = {}
        self.roll_after_ms: dict[str, int] = {}
        self.meter = Meter()

    def start(self, identity: str = "a", new_batch: Callable[..., Batch] = Batch) -> CommandHandler:
        """Start a handler; if the identity runs already, the new handler fences the old one."""
        clients = self.clients[identity] = MemoryClients(self.group, identity)
        stop = _NeverWaits()
        transactions = Transactions(self.settings, clients, _WATCHDOG, stop)
        open_restore = RestoreOpener(self.settings, self.codecs, clients, transactions)
        return CommandHandler(
            self.settings,
            self.codecs,
            ownership=Ownership(self.settings, clients, open_restore, stop, self.meter),
            transactions=transactions,
            roller=SegmentRoller(self.roll_after_ms),
            check_topics=lambda: None,
            meter=self.meter,
            explain=clients.failure,
            stop=stop,
            new_batch=new_batch,
        )

    def ready(self, identity: str = "a", new_batch: Callable[..., Batch] = Batch) -> CommandHandler:
        """Start a handler and step it until it has restored every partition."""
        handler = self.start(identity, new_batch)
        self.step_until(lambda: len(handler._ownership.ready()) == PARTITIONS, handler)
        return handler

    def send(self, *commands: UserCommand, headers: Headers = ()) -> None:
        """Append commands to their users' partitions."""
        for command in commands:
            if command["user_id"] is None:
                shard = email_shard(command["email"] or "")
            else:
                shard = user_shard(command["user_id"])
            value = self.codecs.commands.encode(command)
            number = partition_of(shard, PARTITIONS)
            self.log.append(COMMANDS.name, number, command["command_id"].encode(), value, headers)

    def send_creates(self, tag: str, commands: int = 20) -> None:
        """Append creations whose ids follow from `tag`, spread over the partitions."""
        for n in range(commands):
            self.send(create(f"{tag}{n}@example.com", command_id=f"{tag}-{n}"))

    def step_until(self, condition: Callable[[], object], *handlers: CommandHandler) -> None:
        """Step the handlers in turn until `condition` holds."""
        for _ in range(MOST_STEPS):
            if condition():
                return
            for handler in handlers:
                handler.run_once()
        raise AssertionError(f"not within {MOST_STEPS} steps")

    def decide(self, commands: int, *handlers: CommandHandler) -> None:
        """Step the handlers until `commands` commands are decided."""
        self.step_until(lambda: len(self.read(OUTCOMES)) >= commands, *handlers)

    def is_settled(self) -> bool:
        """Return whether every command and address message is decided and committed."""
        committed = self.log.committed[self.group.name]
        return not self.log.open and all(
            partition.next_visible(committed.get(place, 0)) is None
            for place, partition in self.log.partitions.items()
            if place[0] in {COMMANDS.name, HOPS.name}
        )

    def lag(self) -> int:
        """Return how many offsets the group is behind the ends of its inputs, as lag tools show."""
        committed = self.log.committed[self.group.name]
        return sum(
            partition.end - committed.get(place, 0)
            for place, partition in self.log.partitions.items()
            if place[0] in {COMMANDS.name, HOPS.name}
        )

    def read(self, topic: Topic) -> list[tuple[int, Any]]:
        """Return (partition, record) of every committed record; None for a tombstone.

        Recorded positions and marks are left out, as in `rollbook verify`.
        """
        decode = codec(topic.schema).decode
        return [
            (number, None if value is None else decode(value))
            for number, key, value in self.log.records(topic.name)
            if not self._is_bookkeeping(topic, number, key, value)
        ]

    def _is_bookkeeping(
        self, topic: Topic, number: int, key: bytes | None, value: bytes | None
    ) -> bool:
        is_mark = topic is EVENTS and is_mark_key(key, number, PARTITIONS)
        return is_mark or is_position(topic, key, value)

    def marks(self) -> dict[int, LogFormat]:
        """Return the latest mark of each partition that has one."""
        return {
            number: self.codecs.marks.decode(value)
            for number, key, value in self.log.records(EVENTS.name)
            if is_mark_key(key, number, PARTITIONS)
        }

    def assert_log_is_valid(self) -> None:
        """Fail unless the checks of `rollbook verify` find nothing wrong in the log."""
        logs = [PartitionLog() for _ in range(PARTITIONS)]
        for topic in (COMMANDS, EVENTS, HISTORY, OUTCOMES, EMAILS, HOPS):
            for number, key, value in self.log.records(topic.name):
                records = logs[number].topics[topic.name]
                if not self._is_bookkeeping(topic, number, key, value):
                    records.append(Record(len(records), (key or b"").decode(), value))
        checks = verified(logs, WINDOW, Random(0), decisions=True)
        broken = [check for check in checks if not check.holds]
        assert not broken, [(check.line(), check.examples) for check in broken]

    def decide_exactly_once(self, commands: int, *handlers: CommandHandler) -> None:
        """Step the handlers until the creations sent, and nothing else, are decided once each."""
        self.decide(commands, *handlers)
        self.assert_exactly_once(commands)

    def assert_exactly_once(self, commands: int) -> None:
        """Every creation sent has one outcome and one event; no seq is missing or repeated."""
        assert_decided_once(self.read(OUTCOMES), self.read(HISTORY), commands)


def sizes(*handlers: CommandHandler) -> list[int]:
    """Return how many partitions each handler decides."""
    return [len(handler._ownership.ready()) for handler in handlers]
