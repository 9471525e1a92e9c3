"""Retries or discards the records of dead letters.

A record is read from the log again and passed to the reader that failed on it.

An event goes to every version of the read model that has passed it. Later events are not undone,
because the event carries the version of the user. A command is appended again; the handler decides
it only once, by its id. Address messages between partitions are not retried: only handlers may
write those, and their order matters.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from confluent_kafka import Message

from projectors.catalog import read_models
from projectors.contract.read_model import Batch, Dropped, ReadModel, ReadModelVersions
from projectors.dead_letters.place import LogPlaces, topic_of
from projectors.engine.dead_letter_writer import LetterLog, SafeProducer
from projectors.log.records import Record, read_record
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Rejected, RollbookError
from schemas.fields.rules import clean_command_id
from schemas.letters import APPLIED, DISCARDED, HANDLER, PROJECTOR, SENT, Letter, settlement
from schemas.records import UserEvent
from schemas.topics import COMMANDS, DEAD_LETTERS, Topic

POISONED: Final = "poisoned"
NOT_REACHED: Final = "not_reached"
NOT_RETRIED: Final = "not_retried"

# Each but the last three settles the letter.
How: TypeAlias = Literal[
    "applied", "sent", "superseded", "gone", "poisoned", "not_reached", "not_retried"
]
_LEAVES_OPEN: Final = {POISONED, NOT_REACHED, NOT_RETRIED}


@dataclass(frozen=True, slots=True)
class Retried:
    """The result of a retry; `error` and `message` say why it failed, if it did."""

    letter: Letter
    how: How
    error: str | None = None
    message: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the letter is still open."""
        return self.how in _LEAVES_OPEN

    def as_json(self) -> dict[str, Any]:
        """Return the result as commands print it and services answer it."""
        return {
            "letter": self.letter.place,
            "reader": self.letter.reader,
            "result": self.how,
            "error": self.error,
            "message": self.message,
        }


class LetterRetry:
    """Retries letters, one at a time. Call `close` at the end.

    With `dry_run` nothing is applied, sent or settled, so whether a store would refuse the record
    stays unknown.
    """

    def __init__(self, settings: Settings, *, dry_run: bool = False) -> None:
        """Raise `Unavailable` if the registry cannot be reached."""
        registry = Registry(settings)
        self._settings = settings
        self._registry = registry
        self._dry_run = dry_run
        self._places = LogPlaces(settings)
        self._producer = SafeProducer(settings)
        self._log = LetterLog(settings, registry.codec(DEAD_LETTERS.schema), self._producer)
        self._models: dict[str, _Versions] = {}

    def close(self) -> None:
        """Close all connections."""
        for model in self._models.values():
            model.close()
        self._places.close()

    def retry(self, letter: Letter) -> Retried:
        """Retry one letter, and settle it unless it has to stay open.

        Fastest when called in the order of the log. Raises `Unavailable` if a server is down; the
        letter then stays open, and another retry is safe.
        """
        try:
            done = self._attempt(letter)
        except Poisoned as poison:
            return Retried(letter, POISONED, poison.code, str(poison))
        if not (done.is_open or self._dry_run):
            self._log.append([settlement(letter, done.how, time.time_ns() // 1_000_000)])
        return done

    def _attempt(self, letter: Letter) -> Retried:
        topic = topic_of(self._settings, letter)
        refusal = self._refusal(letter, topic)
        if refusal or topic is None:
            return Retried(letter, NOT_RETRIED, NOT_RETRIED, refusal)
        found = self._places.read_at(topic, letter.partition, letter.offset)
        if not isinstance(found, Message):
            return Retried(letter, found)
        if letter.reader == HANDLER:
            return Retried(letter, self._send(letter, found))
        return self._apply(letter, found)

    def _refusal(self, letter: Letter, topic: Topic | None) -> str:
        """Return why a letter cannot be retried; an empty text if it can."""
        if letter.reader == HANDLER:
            if topic is COMMANDS:
                return ""
            return "only handlers write that topic; send the change of address again as a command"
        name = letter.reader.removeprefix(PROJECTOR)
        if not letter.reader.startswith(PROJECTOR) or name not in read_models(self._settings):
            return "no such reader exists in this installation"
        if topic is not self._model(name).source.topic:
            return "its reader does not read that topic"
        return ""

    def _send(self, letter: Letter, found: Message) -> How:
        """Append the command's bytes again, for the handler to read."""
        command = self._registry.codec(COMMANDS.schema).decode(found.value())
        try:
            clean_command_id(command["command_id"])
        except Rejected as error:  # no valid id, so it cannot be answered
            raise Poisoned(str(error), code="bad_command_id") from None
        if not self._dry_run:
            value = found.value() or b""
            self._producer.append(letter.topic, letter.partition, [(found.key(), value)])
        return SENT

    def _apply(self, letter: Letter, found: Message) -> Retried:
        model = self._model(letter.reader.removeprefix(PROJECTOR))
        record = read_record(found, model.source, model.decode, self._settings.partitions)
        if record.poison is not None:
            raise record.poison
        passed = model.passed(letter.partition, letter.offset)
        if not passed:
            message = "no version has reached the record: its projector will read it"
            return Retried(letter, NOT_REACHED, NOT_REACHED, message)
        if not self._dry_run:
            for version in passed:
                model.write(version, record)
        return Retried(letter, APPLIED)

    def _model(self, name: str) -> "_Versions":
        if name not in self._models:
            versions = read_models(self._settings)[name](self._settings)
            decode = self._registry.codec(versions.source.topic.schema).decode
            self._models[name] = _Versions(versions, decode)
        return self._models[name]


def retry_all(
    settings: Settings, letters: Sequence[Letter], *, dry_run: bool = False
) -> Iterator[Retried]:
    """Yield the result of each letter, in the order of the log.

    A reader whose store fails is left out from then on; its error is raised after the letters of
    the others were tried.
    """
    failed: dict[str, RollbookError] = {}
    with closing(LetterRetry(settings, dry_run=dry_run)) as trial:
        for letter in sorted(letters, key=lambda one: (one.topic, one.partition, one.offset)):
            if letter.reader in failed:
                continue
            try:
                yield trial.retry(letter)
            except RollbookError as error:  # its store is down, or was created by another release
                failed[letter.reader] = error
    for first in failed.values():
        raise first


def discard(settings: Settings, letters: Sequence[Letter]) -> None:
    """Settle letters as discarded. Raises `Unavailable`; some may then be settled."""
    codec = Registry(settings).codec(DEAD_LETTERS.schema)
    now = time.time_ns() // 1_000_000
    settled = [settlement(letter, DISCARDED, now) for letter in letters]
    LetterLog(settings, codec, SafeProducer(settings)).append(settled)


class _Versions:
    """The open versions of one read model."""

    def __init__(
        self, versions: ReadModelVersions, decode: Callable[[bytes | None], UserEvent]
    ) -> None:
        self.source = versions.source
        self.decode = decode
        self._versions = versions
        self._opened: dict[int, ReadModel] = {}

    def passed(self, partition: int, offset: int) -> list[ReadModel]:
        """Return the versions whose checkpoint has passed a place.

        The others will read the record themselves. The live version comes last: a version that goes
        live in the meantime then already has what a reader may have seen.
        """
        versions = sorted(self._versions.versions(), key=lambda version: version.live)
        found = []
        for version in versions:
            if version.number not in self._opened:
                self._opened[version.number] = self._versions.open(version.number)
            model = self._opened[version.number]
            try:
                position = model.checkpoint().get(partition)
            except Dropped:
                continue
            if position is not None and position.next_offset > offset:
                found.append(model)
        return found

    def write(self, model: ReadModel, record: Record) -> None:
        """Apply a record to a version that has passed it.

        Raises `Poisoned` naming the version. A version that was dropped meanwhile is ignored; one
        that a rebuild finished meanwhile is opened again.
        """
        try:
            self._write(model, record)
        except Dropped:
            return
        except Fenced:
            model.close()
            self._opened[model.version] = self._versions.open(model.version)
            self._write(self._opened[model.version], record)

    def close(self) -> None:
        """Close all connections."""
        for model in self._opened.values():
            model.close()
        self._versions.close()

    def _write(self, model: ReadModel, record: Record) -> None:
        events = [record.event] if record.event is not None else []
        removed = [record.removes] if record.removes is not None else []
        try:
            model.write(Batch(events, {}, removed))
        except Poisoned as poison:
            message = f"version {model.version} of {model.name}: {poison}"
            raise Poisoned(message, code=poison.code) from None
