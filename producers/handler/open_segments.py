"""Closes log segments in time, so that compaction can erase what they hold.

Kafka never cleans the segment that is being written to. It closes one only when something is
appended to the same topic and partition, and only if the timestamp of that append exceeds the one
of the segment's first record by more than `segment.ms`: no clock closes it. After an erasure the
erased records would stay for ever in a topic and partition to which nothing is appended, even while
others of the handler are busy. So in time a handler appends a record to them, in a transaction that
it aborts. That closes the segment, and no reader of committed records sees the record
(docs/decisions/0008).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from producers.domain.state import PartitionState
from runtime.topics.log_ranges import Place
from schemas.topics import EMAILS, EVENTS, HISTORY

COMPACTED = (EVENTS, HISTORY, EMAILS)
# The clocks of brokers and handlers differ a little.
_SPARE_MS = 1_000
# A record waits longer than a segment lives by a twelfth: shorter would append more often to what
# is written to now and then, longer would keep erased data longer.
_PATIENCE = 12


@dataclass(slots=True)
class _OpenSegment:
    """The times of the records that the open segment of one place may hold, in ms.

    They were written from `oldest`, which is None if there are none, to `latest`. `appended` is the
    time of the last append to the place, whatever it was.
    """

    oldest: int | None = None
    latest: int = 0
    appended: int = 0


class SegmentRoller:
    """Decides which topics and partitions need an append, and itself appends nothing.

    `roll_after_ms` maps each compacted topic to the age at which a segment is closed. What is known
    of a segment follows from one rule: an append at time t closes every segment that holds a record
    older than t - `roll_after_ms`.
    """

    def __init__(self, roll_after_ms: Mapping[str, int]) -> None:
        self._closes_after_ms = {topic: ms + _SPARE_MS for topic, ms in roll_after_ms.items()}
        self._patience_ms = {topic: ms // _PATIENCE for topic, ms in roll_after_ms.items()}
        self._segments: dict[Place, _OpenSegment] = {}
        self._states: dict[int, PartitionState] = {}

    def follow(self, states: Mapping[int, PartitionState], now_ms: int) -> None:
        """Note which partitions are decided now, each with its state.

        Of a state that was restored since, it is unknown what open segments hold, so they are due
        at once, and then until nothing that was written before `now_ms` can be in them.
        """
        for number in self._states.keys() - states.keys():
            del self._states[number]
        for number, state in states.items():
            if self._states.get(number) is not state:
                self._states[number] = state
                # Without any record there is nothing to clean.
                oldest = 0 if state.last_time else None
                for topic in self._closes_after_ms:
                    self._segments[topic, number] = _OpenSegment(oldest, now_ms, now_ms)

    def written(self, places: Iterable[Place], began_ms: int, ended_ms: int) -> None:
        """Note that records were appended to these places in this time."""
        for place in places:
            segment = self._segments.get(place)
            if segment is None:
                continue  # of a topic that is not compacted, or of a partition that was lost
            # A clock that was set back: the segment may begin with a record of the later time.
            began = max(began_ms, segment.appended)
            closed_before = began - self._closes_after_ms[place[0]]
            if segment.oldest is None or segment.latest < closed_before:
                segment.oldest = began
            segment.oldest = max(segment.oldest, closed_before)
            segment.latest = segment.appended = max(ended_ms, began)

    def attempted(self, places: Iterable[Place], began_ms: int, ended_ms: int) -> None:
        """Note that a transaction failed: some of its records may be in the open segments.

        An aborted record stays where it was appended. Of one that was refused, nothing was
        appended, so no segment has closed.
        """
        for place in places:
            segment = self._segments.get(place)
            if segment is None:
                continue
            if segment.oldest is None:
                segment.oldest = max(began_ms, segment.appended)
            segment.latest = max(segment.latest, ended_ms)

    def due(self, now_ms: int) -> list[Place]:
        """Return the topics and partitions to append to, in time and no more often than needed."""
        return [
            place
            for place, segment in self._segments.items()
            if segment.oldest is not None
            and place[1] in self._states
            and now_ms - segment.oldest > self._limit_ms(place[0])
        ]

    def ages(self, now_ms: int) -> dict[str, tuple[int, int]]:
        """Return by topic the age of the oldest record in an open segment, and its limit, in ms.

        The age is 0 if there is none. Of a segment that was restored, what it holds is unknown
        until the first append; its age counts from the restore.
        """
        ages = dict.fromkeys(self._closes_after_ms, 0)
        for (topic, number), segment in self._segments.items():
            if segment.oldest is not None and number in self._states:
                since = segment.oldest or segment.latest
                ages[topic] = max(ages[topic], now_ms - since)
        return {topic: (age, self._limit_ms(topic)) for topic, age in ages.items()}

    def _limit_ms(self, topic: str) -> int:
        return self._closes_after_ms[topic] + self._patience_ms[topic]

    def rolled(self, places: Iterable[Place], at_ms: int) -> None:
        """Note that these have been appended to at that time."""
        for place in places:
            segment = self._segments[place]
            closed_before = at_ms - self._closes_after_ms[place[0]]
            if segment.latest < closed_before:
                segment.oldest = None
            elif segment.oldest is not None:
                segment.oldest = max(segment.oldest, closed_before)
            segment.appended = max(segment.appended, at_ms)
