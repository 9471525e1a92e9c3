"""Where a topic ends for a reader of committed records, and which event is its last.

Offsets do not show how far a reader is behind: transaction markers and aborted records take offsets
too, so an idle topic always seems to hold one more record. The seq of the last event shows it.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

from projectors.contract.source import Source
from projectors.log.records import read_record
from runtime.kafka.clients import end_reader
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.records import UserEvent

_FIRST_STEP_BACK = 16


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of one partition; `last_seq` is the seq of its last readable event, 0 if none."""

    low: int
    end: int
    last_seq: int


def read_log_end(
    settings: Settings, source: Source, decode: Callable[[bytes | None], UserEvent]
) -> tuple[str, dict[int, LogEnd]]:
    """Return the id of the source's topic and the end of each of its partitions.

    Raises `Unavailable`, and `Misconfigured` if the topic is not as it should be.
    """
    topic_id = check_topics(settings)[source.topic.name]
    ranges = log_ranges(settings, source.topic, range(settings.partitions))
    seqs = last_seqs(settings, source, decode, ranges)
    return topic_id, {p: LogEnd(r.low, r.end, seqs.get(p, 0)) for p, r in ranges.items()}


def last_seqs(
    settings: Settings,
    source: Source,
    decode: Callable[[bytes | None], UserEvent],
    ranges: Mapping[int, LogRange],
) -> dict[int, int]:
    """Return by partition the seq of the last readable event before the end of its range.

    A partition without one is missing. Searches back from each end, further each time. Raises
    `Unavailable`.
    """
    last: dict[int, int] = {}
    missing = {p: r for p, r in ranges.items() if r.low < r.end}
    step = _FIRST_STEP_BACK
    if not missing:
        return last
    with closing(end_reader(settings)) as consumer:
        while missing:
            tails = {p: LogRange(max(r.low, r.end - step), r.end) for p, r in missing.items()}
            for message in chain.from_iterable(read_topic(settings, consumer, source.topic, tails)):
                # Every read model passes a poisoned record, so none is behind because of it.
                record = read_record(message, source, decode, settings.partitions)
                if record.event is not None:
                    last[record.partition] = record.event["seq"]
            missing = {p: r for p, r in missing.items() if p not in last and tails[p].low > r.low}
            step *= 4
    return last
