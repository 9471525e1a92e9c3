"""Checks that no stranger has written where only handlers write.

A client that may append to more than `user-commands` can damage a registry without breaking any
other promise: readers skip its records. Such a record is reported until it is gone, or until an
operator has settled its dead letters.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from schemas.letters import Letter
from scripts.verify.facts import Check, Entry

# Topic (with its prefix), partition, offset.
Place: TypeAlias = tuple[str, int, int]


class ForeignChecks:
    """Pass every entry of the handlers' topics through `read`, then call `finish` once."""

    def __init__(self) -> None:
        self.foreign = Check("only handlers have written to the topics of handlers")
        self.open_letters = Check("no dead letter is open, except of commands")
        self._found: dict[Place, str] = {}

    def read(self, topic: str, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries of a topic (named with its prefix), and note the foreign ones."""
        for entry in entries:
            self.foreign.looked_at += 1
            if entry.problem:
                self._found[topic, entry.partition, entry.offset] = entry.problem
            yield entry

    def finish(self, letters: Iterable[Letter], commands_topic: str) -> None:
        """Report open letters, and the foreign records, except those whose letters are all settled.

        Anybody who may send commands can write anything as a command, so these do not count.
        """
        settled: set[Place] = set()
        opened: set[Place] = set()
        for letter in letters:
            place = (letter.topic, letter.partition, letter.offset)
            (opened if letter.is_open else settled).add(place)
            if letter.topic != commands_topic:
                self.open_letters.looked_at += 1
                if letter.is_open:
                    self.open_letters.report(f"{_text(place)}: {letter.error} ({letter.reader})")
        for place, problem in self._found.items():
            if place not in settled - opened:
                self.foreign.report(f"{_text(place)}: {problem}")


def _text(place: Place) -> str:
    topic, partition, offset = place
    return f"{topic} partition {partition} offset {offset}"
