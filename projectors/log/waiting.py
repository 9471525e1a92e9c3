"""How long the events that a read model has not applied have been waiting for it."""

from collections.abc import Mapping
from contextlib import closing

from runtime.kafka.clients import end_reader
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.topics import Topic


def first_times(settings: Settings, topic: Topic, offsets: Mapping[int, int]) -> dict[int, int]:
    """Return partition → when its first record from an offset on was written, in ms since 1970.

    A partition without such a record is left out. Raises `Unavailable`.
    """
    there = log_ranges(settings, topic, offsets)
    wanted = {p: LogRange(max(offset, there[p].low), there[p].end) for p, offset in offsets.items()}
    times: dict[int, int] = {}
    missing = {p for p, one in wanted.items() if one.low < one.end}
    with closing(end_reader(settings)) as consumer:
        for messages in read_topic(settings, consumer, topic, wanted):
            for message in messages:
                times.setdefault(message.partition() or 0, message.timestamp()[1])
            if missing <= set(times):
                break
    return times
