"""Tries the records of dead letters again, or lets them be.

A record is read from the log anew and given to who could not take it.

An event goes to every version of the read model that has passed it; the version of the user that it
carries makes that harmless, whatever came after it. A command is appended again, and the handler
decides it once however often that is done, by its id. Hops between partitions are not tried again:
only handlers may write those, and by their order.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from confluent_kafka import Message

from projectors.catalog import read_models
from projectors.contract.read_model import Batch, Dropped, ReadModel, ReadModelVersions
from projectors.dead_letters.place import LogPlaces, topic_of
from projectors.engine.dead_letter_writer import LetterLog, SafeProducer
from projectors.log.records import Record, read_record
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Rejected
from schemas.letters import APPLIED, DISCARDED, HANDLER, PROJECTOR, SENT, Letter, settlement
from schemas.records import UserEvent
from schemas.rules import clean_command_id
from schemas.topics import COMMANDS, DEAD_LETTERS, Topic

POISONED: Final = "poisoned"
NOT_REACHED: Final = "not_reached"
NOT_RETRIED: Final = "not_retried"

# All but the last three settle the letter.
How: TypeAlias = Literal[
    "applied", "sent", "superseded", "gone", "poisoned", "not_reached", "not_retried"
]
_LEAVES_OPEN: Final = {POISONED, NOT_REACHED, NOT_RETRIED}


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a letter that was tried again; `error` and `message` say why it did not go."""

    letter: Letter
    how: How
    error: str | None = None
    message: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the letter stays open."""
        return self.how in _LEAVES_OPEN


class LetterRetry:
    """Tries letters again, one at a time. Close it.

    With `dry_run` nothing is applied, sent or settled: what a store will refuse is not seen then.
    """

    def __init__(self, settings: Settings, *, dry_run: bool = False) -> None:
        """Raise `Unavailable` if the registry is away."""
        registry = Registry(settings)
        self._settings = settings
        self._registry = registry
        self._dry_run = dry_run
        self._places = LogPlaces(settings)
        self._producer = SafeProducer(settings)
        self._log = LetterLog(settings, registry.codec(DEAD_LETTERS.schema), self._producer)
        self._models: dict[str, _Versions] = {}

    def close(self) -> None:
        """Let go of connections."""
        for model in self._models.values():
            model.close()
        self._places.close()

    def retry(self, letter: Letter) -> Retried:
        """Try one letter again, and settle it if that ends it.

        Cheapest in the order of the log. Raises `Unavailable` if a server is away; the letter is
        open then, and trying it once more does no harm.
        """
        try:
            done = self._tried(letter)
        except Poisoned as poison:
            return Retried(letter, POISONED, poison.code, str(poison))
        if not (done.is_open or self._dry_run):
            self._log.append([settlement(letter, done.how, time.time_ns() // 1_000_000)])
        return done

    def _tried(self, letter: Letter) -> Retried:
        topic = topic_of(self._settings, letter)
        refusal = self._refusal(letter, topic)
        if refusal or topic is None:
            return Retried(letter, NOT_RETRIED, NOT_RETRIED, refusal)
        found = self._places.look(topic, letter.partition, letter.offset)
        if not isinstance(found, Message):
            return Retried(letter, found)
        if letter.reader == HANDLER:
            return Retried(letter, self._send(letter, found))
        return self._apply(letter, found)

    def _refusal(self, letter: Letter, topic: Topic | None) -> str:
        """Return why a letter is none that can be tried again; an empty text if it can."""
        if letter.reader == HANDLER:
            if topic is COMMANDS:
                return ""
            return "only handlers write that topic; send the change of address again as a command"
        name = letter.reader.removeprefix(PROJECTOR)
        if not letter.reader.startswith(PROJECTOR) or name not in read_models(self._settings):
            return "there is no such reader here"
        if topic is not self._model(name).source.topic:
            return "its reader does not read that topic"
        return ""

    def _send(self, letter: Letter, found: Message) -> How:
        """Append the command's bytes again, where the handler will read them."""
        command = self._registry.codec(COMMANDS.schema).decode(found.value())
        try:
            clean_command_id(command["command_id"])
        except Rejected as error:  # the handler can answer nobody
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
            message = "no version has come that far: its projector will try it by itself"
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


def discard(settings: Settings, letters: Sequence[Letter]) -> None:
    """Settle letters as discarded. Raises `Unavailable`; some may be settled then."""
    codec = Registry(settings).codec(DEAD_LETTERS.schema)
    now = time.time_ns() // 1_000_000
    settled = [settlement(letter, DISCARDED, now) for letter in letters]
    LetterLog(settings, codec, SafeProducer(settings)).append(settled)


class _Versions:
    """The versions of one read model, opened."""

    def __init__(
        self, versions: ReadModelVersions, decode: Callable[[bytes | None], UserEvent]
    ) -> None:
        self.source = versions.source
        self.decode = decode
        self._versions = versions
        self._opened: dict[int, ReadModel] = {}

    def passed(self, partition: int, offset: int) -> list[ReadModel]:
        """Return the versions whose checkpoint has passed a place.

        The others will come to it; one that is being built may not bear to be given it before. The
        live one is the last: whatever goes live next then holds what a reader saw.
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
        """Give a version a record that it has passed.

        Raises `Poisoned` naming the version. One that is dropped meanwhile needs nothing; one that
        a rebuild finishes meanwhile is opened anew.
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
        """Let go of connections."""
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
