"""Fills an empty registry from a backup, in steps that a killed run can continue.

1. Check every file. 2. Mark each partition as unfinished: handlers refuse it from here on. 3. Write
events and claims. 4. Reserve offsets for the answers, which then take the place of their commands.
5. Write answers, undecided commands and positions. 6. Check that each partition has as many records
as were written. 7. Remove the marks, all at once.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from producers.domain.state import claim_key
from producers.handler.clients import Codecs
from producers.handler.members import GROUP
from runtime.kafka.client_classes import Producer
from runtime.kafka.clients import (
    REQUEST_TIMEOUT_SECONDS,
    admin,
    kafka_available,
    transactional_config,
)
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import Misconfigured
from schemas.formats import UNFINISHED_RESTORE, mark_key
from schemas.positions import POSITION_KEY, Position, encode_position
from schemas.records import LogFormat
from schemas.topics import COMMANDS, DEAD_LETTERS, EMAILS, EVENTS, HISTORY, HOPS, OUTCOMES
from scripts.backup.directory import BackupDirectory, Part, check_files
from scripts.backup.files import damaged
from scripts.backup.plan import (
    EventFiles,
    PartitionPlan,
    claim_of,
    commands_of,
    outcome_of,
    outcomes_of,
)
from scripts.backup.target import (
    LogWriter,
    ends_of,
    prepare,
    require_no_handlers,
    require_offsets,
)
from scripts.backup.written import Written, foreign

_TRANSACTION_SECONDS = 30.0


@dataclass(slots=True)
class Restored:
    """What a restore wrote.

    `erased` counts users whom only the list of erasures removed, and `left_out` the undecided
    commands that are not restored because of erasures.
    """

    users: int = 0
    events: int = 0
    claims: int = 0
    answers: int = 0
    commands: int = 0
    left_out: int = 0
    erased: int = 0


def open_backup(settings: Settings, folder: Path, checked: Callable[[int], None]) -> list[Part]:
    """Return the parts of a backup after reading every file; `checked` gets the bytes read.

    Raises `Misconfigured`: see `BackupDirectory.parts`; also `no_backup` if there is none, and
    `other_partitions` if the settings have another number of partitions.
    """
    parts = BackupDirectory(folder).parts()
    if not parts:
        raise Misconfigured(
            f"{folder} has no complete backup",
            code="no_backup",
            next_step="name the folder that was given to `rollbook backup`",
        )
    wanted = parts[-1].manifest.partitions
    if wanted != settings.partitions:
        raise Misconfigured(
            f"the backup has {wanted} partitions, the setting is {settings.partitions}",
            code="other_partitions",
            next_step=f"set `partitions` to {wanted}: users keep their partition for life",
        )
    for size in check_files(parts):
        checked(size)
    return parts


def restore(
    settings: Settings,
    parts: list[Part],
    erasures: Collection[str],
    report: Callable[[int], None],
) -> Restored:
    """Fill the registry; `report` gets the records written.

    Raises `Misconfigured` (`not_empty`) if there is one already, and `Rejected`
    (`handlers_running`). A run that was killed is continued by the next one with the same
    arguments; until it is complete, no handler decides anything.
    """
    fingerprint = _fingerprint(parts, erasures)
    written = prepare(settings, fingerprint)
    filling = _Filling(settings, parts, erasures, written, report)
    filling.begin(fingerprint)
    for partition in range(settings.partitions):
        filling.write_partition(partition)
    filling.reserve_offsets()
    filling.write_answers()
    filling.check()
    filling.finish(fingerprint)
    return filling.restored


def _fingerprint(parts: list[Part], erasures: Collection[str]) -> str:
    """Return what distinguishes this restore from others."""
    texts = [parts[-1].checksum, *sorted(erasures)]
    return "restore-" + hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


class _Filling:
    """One run of a restore; the methods are its steps, in their order."""

    def __init__(
        self,
        settings: Settings,
        parts: list[Part],
        erasures: Collection[str],
        written: Written,
        report: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._cuts = parts[-1].manifest.cuts
        self._erasures = erasures
        self._written = written
        self._writer = LogWriter(settings, written, report)
        self._codecs = Codecs.of(Registry(settings).codec)
        self._plans: dict[int, PartitionPlan] = {}
        self.restored = Restored()

    def begin(self, fingerprint: str) -> None:
        """Mark every partition, then require that no handler has read it before that."""
        mark = self._mark(UNFINISHED_RESTORE, fingerprint)
        for partition in range(self._settings.partitions):
            self._writer.write(EVENTS, partition, self._mark_key(partition), mark)
        self._writer.flush()
        require_no_handlers(
            self._settings,
            "stop all of them, delete the topics and the handlers' group, and begin again: "
            "they may have started before the registry was marked as unfinished",
        )

    def _mark(self, log_format: int, by: str) -> bytes:
        mark: LogFormat = {"format": log_format, "finalised_at": 0, "finalised_by": by}
        return self._codecs.marks.encode(mark)

    def _mark_key(self, partition: int) -> str:
        return mark_key(partition, self._settings.partitions)

    def write_partition(self, partition: int) -> None:
        """Write the events of one partition, and the claims of its users in other partitions.

        Raises `Misconfigured` (`damaged_backup`) if the last event is not that of the manifest.
        """
        plan = PartitionPlan(EventFiles(self._parts, partition), self._erasures)
        cut = self._cuts[partition]
        if plan.seq - plan.erasures != cut.seq:
            raise damaged(self._parts[-1].path, f"partition {partition} does not end at its cut")
        encode, claims = self._codecs.events[cut.format].encode, self._codecs.claims
        for event, is_latest in plan.events():
            value = encode(event)
            self._writer.write(HISTORY, partition, event["event_id"], value)
            self.restored.events += 1
            if not is_latest:
                continue
            self._writer.write(EVENTS, partition, event["user_id"], value)
            claim = claim_of(event, partition, self._settings.partitions)
            if claim is not None:
                self._writer.write(EMAILS, claim[0], claim_key(claim[1]), claims.encode(claim[1]))
                self.restored.claims += 1
        self.restored.users += plan.users
        self.restored.erased += plan.erasures
        self._plans[partition] = plan

    def _reserved(self, partition: int) -> int:
        """Return how many offsets are reserved: one for each answer, and at least one."""
        return max(1, self._cuts[partition].outcomes + self._plans[partition].erasures)

    def reserve_offsets(self) -> None:
        """Use up offsets of commands, and delete these records as retention would.

        Each restored answer gets the offset of a command that is no longer on the log. One answer
        is deleted as well, which says that earlier ones are gone. Raises `Misconfigured`
        (`not_empty`) if a client has written commands before that.
        """
        settings, written = self._settings, self._written
        self._writer.flush()  # an offset that is reserved says that all before it is stored
        if not written.is_continued():  # so no earlier run came here
            for topic in (COMMANDS, OUTCOMES):
                written.require_empty(settings.named(topic.name))
        places = []
        for partition in range(settings.partitions):
            for topic, count in ((COMMANDS, self._reserved(partition)), (OUTCOMES, 1)):
                for _ in range(count):
                    self._writer.write(topic, partition, None, b"")
                places.append(TopicPartition(settings.named(topic.name), partition, count))
        self._writer.flush()
        ends = ends_of(settings)
        for reserved in places:
            place = (reserved.topic, reserved.partition)
            if written.ends[place] < reserved.offset != ends[place]:
                raise foreign(place)
        with kafka_available(self._settings, f"Delete on topic {places[0].topic}"):
            client = admin(self._settings)
            deleted = client.delete_records(places, request_timeout=REQUEST_TIMEOUT_SECONDS)
            for one in deleted.values():
                one.result()

    def write_answers(self) -> None:
        """Write the answers, the undecided commands and the positions between the two."""
        last, codecs = self._parts[-1], self._codecs
        for partition, plan in self._plans.items():
            answers = chain(outcomes_of(last, partition), map(outcome_of, plan.markers()))
            for offset, outcome in enumerate(answers):
                value = codecs.outcomes.encode({**outcome, "command_offset": offset})
                self._writer.write(OUTCOMES, partition, outcome["command_id"], value)
                self.restored.answers += 1
            for command in commands_of(last, partition):
                if not plan.keeps(command):
                    self.restored.left_out += 1
                    continue
                value = codecs.commands.encode(command)
                self._writer.write(COMMANDS, partition, command["command_id"], value)
                self.restored.commands += 1
            position = Position(self._reserved(partition), 0, plan.seq)
            self._writer.write(EMAILS, partition, POSITION_KEY.decode(), encode_position(position))
        self._writer.flush()

    def check(self) -> None:
        """Raise `Misconfigured` (`not_empty`) if the topics have anything that was not written.

        `user-events` may have the marks of a run that was killed at its end. Commands of clients
        that are early do no harm after the reserved offsets, nor do dead letters.
        """
        settings = self._settings
        longer = frozenset(settings.named(one.name) for one in (EVENTS, COMMANDS, DEAD_LETTERS))
        self._written.require_complete(ends_of(settings), longer=longer)
        require_offsets(settings, {p: self._reserved(p) for p in self._plans})

    def finish(self, fingerprint: str) -> None:
        """Commit the positions as offsets, then replace the marks in one transaction."""
        settings = self._settings
        offsets = [
            TopicPartition(settings.named(topic.name), partition, offset)
            for partition in self._plans
            for topic, offset in ((COMMANDS, self._reserved(partition)), (HOPS, 0))
        ]
        group = settings.named(GROUP)
        with kafka_available(settings, f"Read on group {group}"):
            client = admin(settings)
            request = [ConsumerGroupTopicPartitions(group, offsets)]
            for one in client.alter_consumer_group_offsets(request).values():
                one.result()
        with kafka_available(settings):
            name = settings.named("rollbook-restore")
            producer = Producer(transactional_config(settings, name))
            producer.init_transactions(_TRANSACTION_SECONDS)
            producer.begin_transaction()
            for partition, cut in enumerate(self._cuts):
                producer.produce(
                    settings.named(EVENTS.name),
                    self._mark(cut.format, fingerprint),
                    self._mark_key(partition),
                    partition,
                )
            producer.commit_transaction(_TRANSACTION_SECONDS)
