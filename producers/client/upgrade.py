"""Asks the handlers of all partitions for the format of the log, and has it raised.

The questions and answers are commands and outcomes, so the handler that decides a partition answers
for it, whatever its release. An older one answers that it does not know the kind of command.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

from producers.client.build import upgrade_command
from producers.client.command_client import DEFAULT_TIMEOUT_SECONDS, CommandClient
from producers.client.outcomes import Outcome
from runtime.closing import Closing
from runtime.kafka.clients import end_reader
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.log_ranges import log_ranges, read_topic
from schemas.coding.codec import RecordCodec
from schemas.errors import NotInTime
from schemas.formats import FIRST_FORMAT, LATEST_FORMAT, MARK_SCHEMA, is_mark_key
from schemas.records import CHECK_UPGRADE, FINALISE_UPGRADE, LogFormat
from schemas.topics import EVENTS

READY: Final = "ready"
OLDER: Final = "older release"
SILENT: Final = "no answer"
_OLDER = {"invalid_command", "unknown_format"}
# Once one handler has not answered in time, the others get less: they may all be down.
_NEXT_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PartitionFormat:
    """What is known of one partition: its format, and whether its handler knows the latest one.

    `changed` is true if this call has raised the format.
    """

    partition: int
    format: int
    answer: Literal["ready", "older release", "no answer"]
    changed: bool = False


class UpgradeClient(Closing):
    """Asks partitions, one after the other. Raises what `CommandClient` raises.

    A partition whose handler does not answer within `timeout_seconds` is not an error: its format
    is read from the log.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        issued_by: object = None,
    ) -> None:
        self._settings = settings
        self._issued_by = issued_by
        self._client = CommandClient(settings, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check(self) -> list[PartitionFormat]:
        """Return the format of every partition; changes nothing."""
        numbers = range(self._settings.partitions)
        answers = {number: self._ask(CHECK_UPGRADE, number) for number in numbers}
        silent = [number for number, answer in answers.items() if answer is None]
        on_the_log = formats_on_the_log(self._settings, silent) if silent else {}
        return [
            PartitionFormat(number, on_the_log[number], SILENT)
            if answer is None
            else _checked(number, answer)
            for number, answer in answers.items()
        ]

    def finalise(self, partitions: Iterable[PartitionFormat]) -> Iterator[PartitionFormat]:
        """Have each of the partitions written in the latest format; yield what became of it."""
        for before in partitions:
            answer = self._ask(FINALISE_UPGRADE, before.partition)
            if answer is None:
                yield PartitionFormat(before.partition, before.format, SILENT)
            elif answer.accepted:
                found = answer.version or LATEST_FORMAT
                changed = found != before.format
                yield PartitionFormat(before.partition, found, READY, changed)
            else:
                yield _checked(before.partition, answer)

    def _ask(self, kind: str, number: int) -> Outcome | None:
        """Return the answer of a partition's handler, None if there is none in time."""
        command = upgrade_command(
            kind, number, self._settings.partitions, LATEST_FORMAT, self._issued_by
        )
        try:
            return self._client.send(command)
        except NotInTime:
            self._client.close()
            self._client = CommandClient(self._settings, timeout_seconds=_NEXT_TIMEOUT_SECONDS)
            return None


def _checked(number: int, answer: Outcome) -> PartitionFormat:
    """Return what a rejection says. Raises `Rejected` if it says something else."""
    if answer.code == "only_checked":
        return PartitionFormat(number, answer.version or FIRST_FORMAT, READY)
    if answer.code in _OLDER:
        return PartitionFormat(number, answer.version or FIRST_FORMAT, OLDER)
    raise answer.rejection()


def formats_on_the_log(settings: Settings, partitions: Iterable[int]) -> dict[int, int]:
    """Return by partition the format that its log states; reads `user-events` to its end."""
    codec: RecordCodec[LogFormat] = Registry(settings).codec(MARK_SCHEMA)
    found = dict.fromkeys(partitions, FIRST_FORMAT)
    with closing(end_reader(settings)) as consumer:
        ranges = log_ranges(settings, EVENTS, list(found))
        for message in chain.from_iterable(read_topic(settings, consumer, EVENTS, ranges)):
            number = message.partition() or 0
            if is_mark_key(message.key(), number, settings.partitions):
                found[number] = codec.decode(message.value())["format"]
    return found
