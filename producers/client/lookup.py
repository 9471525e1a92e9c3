"""Finds the answer to a command on the log, also long after it was sent."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Final, NamedTuple
from uuid import UUID

from confluent_kafka import Consumer, Message

from producers.client.outcomes import Outcome, check_command_topics, outcome_of
from runtime.kafka.clients import end_reader
from runtime.kafka.registry import Registry
from runtime.printable import name_in_error
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.coding.codec import RecordCodec
from schemas.errors import Forbidden, NotInTime, Poisoned, Rejected
from schemas.fields.rules import clean_command_id
from schemas.records import CommandOutcome
from schemas.topics import COMMANDS, OUTCOMES, Topic

_HOUR_MS: Final = 3_600_000
_UUID_V7: Final = 7


class CommandPlace(NamedTuple):
    """Where a command is on the log.

    It is at `offset` in `partition` of the commands; its answer is in the same partition of the
    outcomes, at `answer_from` or behind it.
    """

    partition: int
    offset: int
    answer_from: int


def find_outcome(
    settings: Settings,
    command_id: str,
    on_progress: Callable[[int], None] | None = None,
    place: CommandPlace | None = None,
    registry: Registry | None = None,
) -> Outcome:
    """Return the first answer to `command_id`; `on_progress` gets the number of records read.

    With a `registry` that has read the schema before, none needs to answer now.

    Reads the outcomes from the time that the id states, or all of them; with `place`, only one
    partition from there on. Raises `Rejected` (`invalid_command` if it is not a command id,
    `command_not_found` if the log has neither the command nor an answer), `NotInTime`
    (`not_decided`) if the command is on the log but undecided, or brokers do not show its place
    yet, `Unavailable` and `Misconfigured`.
    A login that may not read commands, as the role `client`, does not learn whether it is there:
    then no answer is `not_decided`.
    """
    key = clean_command_id(command_id).encode()
    codec = (registry or Registry(settings)).codec(OUTCOMES.schema)
    with closing(end_reader(settings)) as consumer:
        check_command_topics(consumer, settings)
        scan = _Scan(settings, consumer, key, on_progress)
        for ranges in _of_outcomes(settings, command_id, place):
            answers = _decoded(scan.matches(OUTCOMES, ranges), codec)
            if answers:
                return min(answers, key=lambda answer: (answer[0].repeated, answer[1]))[0]
        try:
            is_sent = _is_sent(settings, scan, place)
        except Forbidden:
            raise _not_decided(
                f"command {command_id} has no answer: it is not decided yet, or was never sent"
            ) from None
        if is_sent:
            raise _not_decided(f"command {command_id} was sent but is not decided yet")
    raise Rejected(
        f"there is no command {name_in_error(command_id)} on the log",
        code="command_not_found",
        next_step="it was never sent, or longer ago than the topics keep it (7 days)",
    )


def _not_decided(message: str) -> NotInTime:
    return NotInTime(
        message,
        code="not_decided",
        next_step="is a handler running? `rollbook status`; then ask again",
    )


class _Scan:
    """Reads ranges of topics for the records with one key; no value is decoded."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        key: bytes,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._key = key
        self._on_progress = on_progress
        self.count = 0

    def matches(self, topic: Topic, ranges: Mapping[int, LogRange]) -> Iterator[Message]:
        """Yield the records of `topic` in `ranges` that have the key."""
        for messages in read_topic(self._settings, self._consumer, topic, ranges):
            yield from (message for message in messages if message.key() == self._key)
            self.count += len(messages)
            if self._on_progress and messages:
                self._on_progress(self.count)


def _of_outcomes(
    settings: Settings, command_id: str, place: CommandPlace | None
) -> Iterator[Mapping[int, LogRange]]:
    """Yield what to read of the outcomes: each time more, until the answer is found."""
    if place is None:
        for since_ms in dict.fromkeys((_sent_after_ms(command_id), 0)):
            yield log_ranges(settings, OUTCOMES, range(settings.partitions), since_ms)
    else:
        partition, _, answer_from = place
        [whole] = log_ranges(settings, OUTCOMES, [partition]).values()
        yield {partition: LogRange(max(whole.low, answer_from), whole.end)}


def _is_sent(settings: Settings, scan: _Scan, place: CommandPlace | None) -> bool:
    """Return whether the command is on the log. Raises `NotInTime` if nothing is at its place.

    A place is that of a command that was confirmed. While the leader of its partition changes, a
    reader may see less than that: only another command at the place shows that this one is not.
    """
    if place is None:
        everything = log_ranges(settings, COMMANDS, range(settings.partitions), 0)
        return any(scan.matches(COMMANDS, everything))
    partition, offset, _ = place
    [whole] = log_ranges(settings, COMMANDS, [partition]).values()
    if offset < whole.low < whole.end:
        return False  # the log no longer has it
    before = scan.count
    wanted = {partition: LogRange(max(whole.low, offset), min(whole.end, offset + 1))}
    if any(scan.matches(COMMANDS, wanted)):
        return True
    if scan.count == before:
        raise _not_decided("nothing is at the place of the command: it is not known yet")
    return False


def _decoded(
    messages: Iterator[Message], codec: RecordCodec[CommandOutcome]
) -> list[tuple[Outcome, int]]:
    """Return the answers and when each was decided; foreign bytes with our key are skipped."""
    answers = []
    for message in messages:
        with suppress(Poisoned):
            record = codec.decode(message.value())
            answers.append((outcome_of(record, message.partition() or 0), record["decided_at"]))
    return answers


def _sent_after_ms(command_id: str) -> int:
    """Return a time before the command was sent, from the id if our client made it; otherwise 0."""
    try:
        parsed = UUID(command_id)
    except ValueError:
        return 0
    # An hour covers clock skew. If it does not, the caller reads all outcomes next.
    return max(0, (parsed.int >> 80) - _HOUR_MS) if parsed.version == _UUID_V7 else 0
