"""A continued restore takes nobody else's records for its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from schemas.errors import Misconfigured
from scripts.backup.written import Written

HISTORY, COMMANDS = ("user-history", 0), ("user-commands", 0)


@contextmanager
def refused(name: str) -> Iterator[None]:
    with pytest.raises(Misconfigured, match=f"{name} partition 0") as error:
        yield
    assert error.value.code == "not_empty"


def commands(*keys: bytes | None, low: int = 0, history: int = 2) -> Written:
    """Return an unfinished restore with commands of these keys from `low` on, and some events."""
    end = low + len(keys)
    places = {HISTORY: history, COMMANDS: end}
    return Written(places, {COMMANDS: low}, {COMMANDS: dict(enumerate(keys, low))})


def test_what_was_written_is_passed_and_the_rest_is_new() -> None:
    """Reserved offsets have no key; a topic whose keys are not known is counted only."""
    written = commands(None, b"c1")
    assert [written.passes(COMMANDS, key) for key in (None, "c1", "c2")] == [True, True, False]
    assert [written.passes(HISTORY, "e") for _ in range(3)] == [True, True, False]


def test_deleted_records_are_passed_unseen() -> None:
    written = commands(b"c1", low=2)
    assert [written.passes(COMMANDS, key) for key in (None, None, "c1")] == [True, True, True]


@pytest.mark.parametrize("there", [(None, b"early"), (None, b"c1", b"early")])
def test_a_record_of_somebody_else_is_not_passed(there: tuple[bytes | None, ...]) -> None:
    """Neither among reserved offsets nor among commands."""
    written = commands(*there)
    expected = [None, None] if len(there) == 2 else [None, "c1", "c2"]
    with refused("user-commands"):
        for key in expected:
            written.passes(COMMANDS, key)


def test_an_offset_without_a_record_is_not_passed() -> None:
    """A transaction of a handler leaves its marker, which no reader gets."""
    written = Written({COMMANDS: 1}, {COMMANDS: 0}, {COMMANDS: {}})
    with refused("user-commands"):
        written.passes(COMMANDS, "c1")


def test_commands_before_all_events_are_written_are_not_ours() -> None:
    """Offsets are reserved after the last event is stored."""
    written = commands(b"early")
    for _ in range(2):
        written.passes(HISTORY, "e")
    assert written.is_continued()
    written.passes(HISTORY, "e")
    assert not written.is_continued()
    written.require_empty("user-history-other")
    with refused("user-commands"):
        written.require_empty("user-commands")


def test_each_partition_must_end_after_what_was_written() -> None:
    written = commands()
    written.passes(HISTORY, "e")
    others = frozenset({"user-commands"})
    written.require_complete({HISTORY: 1, COMMANDS: 5}, longer=others)
    for end in (0, 2):
        with refused("user-history"):
            written.require_complete({HISTORY: end, COMMANDS: 0}, longer=others)
    with refused("user-commands"):
        written.require_complete({HISTORY: 1, COMMANDS: 5}, longer=frozenset())
