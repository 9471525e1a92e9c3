"""Reads the dead letters and their settlements from their topic."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from projectors.log.event_log import read_log
from projectors.log.times import iso_time
from runtime.kafka.registry import Registry
from runtime.printable import name_in_error
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from schemas.coding.codec import RecordCodec
from schemas.errors import Rejected
from schemas.letters import APPLIED, PROJECTOR, Letter, Letters, is_letter
from schemas.records import DeadLetter
from schemas.topics import DEAD_LETTERS, Topic


@dataclass(frozen=True, slots=True)
class FoundLetters:
    """All letters; `unreadable` counts the records on their topic that are not letters."""

    letters: Letters
    unreadable: int


def read_letters(settings: Settings) -> FoundLetters:
    """Return all letters up to the present end of their topic.

    Raises `Unavailable`, and `Misconfigured` if a topic is missing.
    """
    check_topics(settings)
    codec: RecordCodec[DeadLetter] = Registry(settings).codec(DEAD_LETTERS.schema)
    letters, unreadable = Letters(), 0
    for batch in read_log(settings, codec, DEAD_LETTERS, [0], "beginning", follow=False):
        for record in batch:
            if record.event is not None and is_letter(record.event, record.key):
                letters.add(record.event)
            else:
                unreadable += 1
    return FoundLetters(letters, unreadable)


def letter_offsets(settings: Settings, read_model: str, topic: Topic) -> dict[int, set[int]]:
    """Return partition → offsets of the records that a read model may lack: its letters.

    Letters that were retried and applied are left out. Raises as `read_letters` does.
    """
    name, reader = settings.named(topic.name), f"{PROJECTOR}{read_model}"
    offsets: dict[int, set[int]] = {}
    for letter in read_letters(settings).letters:
        if (letter.topic, letter.reader) == (name, reader) and letter.settled != APPLIED:
            offsets.setdefault(letter.partition, set()).add(letter.offset)
    return offsets


def letter_fields(letter: Letter) -> dict[str, Any]:
    """Return a letter as it is printed: its place as one text, its times as ISO 8601."""
    return {
        "letter": letter.place,
        **asdict(letter),
        "occurred_at": iso_time(letter.occurred_at),
        "settled_at": None if letter.settled_at is None else iso_time(letter.settled_at),
    }


def named(letters: Iterable[Letter], places: Iterable[str]) -> list[Letter]:
    """Return the letters at these places; several readers may have one at the same place.

    Raises `Rejected` (`dead_letter_not_found`) if there is none at one of them.
    """
    wanted = dict.fromkeys(places)
    found = [letter for letter in letters if letter.place in wanted]
    missing = [place for place in wanted if all(letter.place != place for letter in found)]
    if missing:
        raise Rejected(
            f"there is no dead letter {name_in_error(missing[0])}",
            code="dead_letter_not_found",
            next_step="a letter is topic:partition:offset; "
            "`rollbook dead-letters list --all` shows all letters",
        )
    return found
