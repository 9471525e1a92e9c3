"""Where a partition's inputs are read from: the committed offsets, or what the log says of them.

Committed offsets expire, and an operator may reset them. The log itself records how far a partition
is decided (`schemas.positions`), so a lost offset is recovered instead of being guessed.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from producers.domain.state import PartitionState
from runtime.kafka.clients import assign, poll_batch
from runtime.topics.log_ranges import is_end
from schemas.errors import Misconfigured
from schemas.positions import Position

log = logging.getLogger(__name__)

_PROBE_SECONDS = 1.0
_POLL_SECONDS = 0.1
_PROBE_MESSAGES = 1_000


@dataclass(frozen=True, slots=True)
class Inputs:
    """The two topics that a handler reads, and the group whose offsets record its progress."""

    commands: str
    address_messages: str
    group: str

    def places(self, number: int) -> list[TopicPartition]:
        """Return both inputs of a partition, at an offset that is never read from.

        The group assigns the commands only: no assignor promises that the same numbers of two
        topics go to one member. The address messages are read along with them.
        """
        return [
            TopicPartition(topic, number, 0) for topic in (self.commands, self.address_messages)
        ]


def first_offsets(
    inputs: Inputs,
    state: PartitionState,
    committed: Mapping[str, int],
    recorded: Position | None,
    bounds: Mapping[str, tuple[int, int]],
) -> dict[str, int]:
    """Return by topic where to begin: after everything that is decided.

    `committed` are the group's offsets, negative where there is none; `recorded` is what the log
    says; `bounds` are the first offset that the broker still has and the end. Raises
    `Misconfigured` (`lost_offsets`) if it is uncertain what is decided: beginning too early would
    decide commands twice, and apply again an address message that frees an address.
    """
    decided = state.window.last_offset
    is_new = recorded is None and decided < 0 and not state.users and not state.claims
    if is_new and max(committed.values()) < 0:
        return {topic: low for topic, (low, _end) in bounds.items()}
    if recorded is None and 0 <= committed[inputs.commands] <= decided:
        raise _no_valid_offset(inputs, state)
    known = _on_the_log(inputs, decided, recorded)
    found = {}
    for topic, (low, end) in bounds.items():
        offset = max(committed[topic], known[topic])
        if offset < 0 and low < end:
            raise _no_valid_offset(inputs, state)
        if offset > end:
            raise no_such_offsets(state.partition, {topic: offset})
        _report(topic, state.partition, committed[topic], offset, low)
        found[topic] = max(offset, low)
    if recorded is not None and committed[inputs.commands] < 0:
        _require_outcomes(inputs, state, recorded, bounds[inputs.commands][0])
    return found


def _on_the_log(inputs: Inputs, decided: int, recorded: Position | None) -> dict[str, int]:
    """Return by topic the first offset that is not decided, negative where the log has none.

    A handler that records positions does so whenever the outcomes alone would not show them. An
    earlier release did not: its outcomes prove nothing.
    """
    if recorded is None:
        return {inputs.commands: -1, inputs.address_messages: -1}
    return {
        inputs.commands: max(recorded.commands, decided + 1),
        inputs.address_messages: recorded.address_messages,
    }


def _report(topic: str, number: int, committed: int, offset: int, low: int) -> None:
    if committed < offset:
        log.warning(
            "%s partition %d: the group's offset is %s, recovered %d from the log",
            *(topic, number, "lost" if committed < 0 else committed, offset),
            extra={"partition": number},
        )
    if 0 <= offset < low:
        log.error(
            "%s partition %d: offsets %d to %d were deleted by retention before a decision",
            *(topic, number, offset, low - 1),
            extra={"partition": number},
        )


def _require_outcomes(inputs: Inputs, state: PartitionState, recorded: Position, low: int) -> None:
    """Raise if commands after the recorded position were decided but their outcomes are gone.

    Their events show it. Retention deletes commands before their outcomes, so normally such
    commands are gone as well and `low` is after them.
    """
    has_outcomes = state.window.last_offset >= recorded.commands
    if state.last_seq > recorded.seq and not has_outcomes and low <= recorded.commands:
        raise _no_valid_offset(inputs, state)


def _no_valid_offset(inputs: Inputs, state: PartitionState) -> Misconfigured:
    return Misconfigured(
        f"group {inputs.group} has no valid offset for partition {state.partition}: "
        f"commands up to {state.window.last_offset} are decided",
        code="lost_offsets",
        next_step="set the offsets of both inputs with Kafka's kafka-consumer-groups tool",
    )


def no_such_offsets(number: int, next_offsets: Mapping[str, int]) -> Misconfigured:
    """Return the error for offsets that the log does not have."""
    return Misconfigured(
        f"offsets {dict(next_offsets)} of partition {number} no longer exist",
        code="lost_offsets",
        next_step="was the topic deleted and created again? then delete the group as well",
    )


def first_message(open_reader: Callable[[], Consumer], place: TopicPartition) -> int | None:
    """Return the offset of the first committed message from a place on.

    None if there is none, or none is delivered within a second. The reader must report ends. Raises
    KafkaException.
    """
    with closing(open_reader()) as reader:
        assign(reader, [place])
        deadline = time.monotonic() + _PROBE_SECONDS
        while time.monotonic() < deadline:
            for message in poll_batch(reader, 1, _POLL_SECONDS):
                return None if is_end(message) else message.offset()
    return None


def ends_past_markers(
    consumer: Consumer,
    open_reader: Callable[[], Consumer],
    next_offsets: Mapping[int, Mapping[str, int]],
) -> dict[tuple[str, int], int]:
    """Return the ends of those inputs that have nothing but markers after the next offset.

    A transaction ends with a marker, which takes an offset and is never delivered. Committed
    offsets that stop before it would look like a lag for ever. The reader must report ends.
    """
    gaps = []
    for number, offsets in next_offsets.items():
        for topic, offset in offsets.items():
            place = TopicPartition(topic, number, offset)
            if offset < consumer.get_watermark_offsets(place, cached=True)[1]:
                gaps.append(place)
    if not gaps:
        return {}
    with closing(open_reader()) as reader:
        return _ends_without_messages(reader, gaps)


def _ends_without_messages(
    reader: Consumer, places: list[TopicPartition]
) -> dict[tuple[str, int], int]:
    """Return by topic and number the end of each place after whose offset there is no message."""
    assign(reader, places)
    waiting = {(place.topic, place.partition) for place in places}
    ends = {}
    deadline = time.monotonic() + _PROBE_SECONDS
    while waiting and time.monotonic() < deadline:
        for message in poll_batch(reader, _PROBE_MESSAGES, _POLL_SECONDS):
            place = (message.topic() or "", message.partition() or 0)
            if place in waiting and is_end(message):
                ends[place] = message.offset() or 0
            waiting.discard(place)
    return ends
