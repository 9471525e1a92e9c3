"""When a silent partition is appended to, so that its last segment can be cleaned."""

from producers.handler.idle_segments import SegmentRoller

HOUR = 3_600_000
NOW = 1_790_000_000_000


def test_a_silent_partition_is_due_once_for_each_topic_when_its_segment_is_old() -> None:
    """Topics with a longer life of their segments come later."""
    roller = SegmentRoller({"events": 6 * HOUR, "history": 24 * HOUR})
    idle = {0: NOW - 7 * HOUR, 1: NOW - HOUR}
    assert roller.due(idle, NOW) == [("events", 0)]
    roller.rolled([("events", 0)], idle)
    assert roller.due(idle, NOW) == []
    assert roller.due(idle, NOW + 18 * HOUR) == [("events", 1), ("history", 0)]


def test_it_is_due_again_once_it_was_written_to_and_fell_silent() -> None:
    """What was written since stands in a new segment."""
    roller = SegmentRoller({"events": HOUR})
    roller.rolled([("events", 0)], {0: NOW})
    assert roller.due({0: NOW}, NOW + 2 * HOUR) == []
    assert roller.due({0: NOW + HOUR}, NOW + 3 * HOUR) == [("events", 0)]


def test_a_partition_without_any_record_is_never_due() -> None:
    """There is nothing to clean."""
    assert SegmentRoller({"events": HOUR}).due({0: 0}, NOW) == []
