"""A reader comes to the end that a log had, whatever stands there and whatever is written on."""

from dataclasses import dataclass
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from runtime.log_ranges import Unread


@dataclass
class Arrived:
    """What is looked at of a message."""

    at: tuple[int, int]
    code: int | None = None

    def topic(self) -> str:
        """The topic's name."""
        return "t"

    def partition(self) -> int:
        """The partition."""
        return self.at[0]

    def offset(self) -> int:
        """The offset."""
        return self.at[1]

    def error(self) -> KafkaError | None:
        """The error, if it is one."""
        return None if self.code is None else KafkaError(self.code)


def takes(unread: Unread, partition: int, offset: int, code: int | None = None) -> bool:
    return unread.takes(cast("Message", Arrived((partition, offset), code)))


def test_the_last_record_before_the_end_ends_a_partition() -> None:
    unread = Unread({("t", 0): 3, ("t", 1): 1})
    assert [takes(unread, 0, 0), takes(unread, 1, 0)] == [True, True]
    assert (takes(unread, 1, 0), bool(unread)) == (False, True)
    assert takes(unread, 0, 2)
    assert not unread


def test_behind_markers_a_later_record_ends_it_and_is_not_taken() -> None:
    """Under a steady load nothing else does: the end of the log is never told of."""
    unread = Unread({("t", 0): 3})
    assert takes(unread, 0, 1)
    assert unread
    assert not takes(unread, 0, 3)
    assert not unread
    assert not takes(unread, 0, 4)


def test_behind_markers_on_an_idle_log_its_end_is_told_of() -> None:
    unread = Unread({("t", 0): 3})
    assert not takes(unread, 0, 3, KafkaError._PARTITION_EOF)
    assert not unread


def test_an_error_is_none_of_both() -> None:
    unread = Unread({("t", 0): 3})
    with pytest.raises(KafkaException):
        takes(unread, 0, 0, KafkaError._TRANSPORT)
    assert unread
