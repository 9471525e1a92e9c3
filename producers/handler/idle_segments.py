"""Closes the last log segment of idle partitions, so that compaction can erase what it holds.

Kafka never cleans the segment that is being written to, and closes one only when something is
appended (`segment.ms` is checked on append, not by a clock). In a partition that falls idle right
after an erasure the erased records would stay for ever. So once a partition has been idle for as
long as a segment lives, a handler appends a record in a transaction and aborts it. That closes the
segment, and no reader of committed records sees the record (docs/decisions/0008).
"""

from collections.abc import Iterable, Mapping

from schemas.topics import EMAILS, EVENTS, HISTORY

COMPACTED = (EVENTS, HISTORY, EMAILS)
# The broker's clock and ours differ a little, and it compares with the segment's first record.
_SPARE_MS = 1_000


class SegmentRoller:
    """Decides which idle partitions need an append, and itself appends nothing.

    `roll_after_ms` maps each compacted topic to the age at which a segment is closed.
    """

    def __init__(self, roll_after_ms: Mapping[str, int]) -> None:
        self._roll_after_ms = roll_after_ms
        self._rolled: dict[tuple[str, int], int] = {}

    def due(self, last_append_ms: Mapping[int, int], now_ms: int) -> list[tuple[str, int]]:
        """Return the topics and partitions to append to.

        `last_append_ms` maps each owned partition to the time of its last record, 0 if it never had
        one. A partition is due once each time it falls idle, and once more for each handler that
        takes it over.
        """
        return [
            (topic, number)
            for topic, roll_after_ms in self._roll_after_ms.items()
            for number, appended_ms in last_append_ms.items()
            if appended_ms
            and now_ms - appended_ms > roll_after_ms + _SPARE_MS
            and self._rolled.get((topic, number)) != appended_ms
        ]

    def rolled(self, places: Iterable[tuple[str, int]], last_append_ms: Mapping[int, int]) -> None:
        """Note that these have been appended to since."""
        for topic, number in places:
            self._rolled[topic, number] = last_append_ms[number]
