"""A slow pipe: what has arrived is passed on, and nothing is lost at its end."""

from collections.abc import Iterator
from threading import Event

import pytest

from producers.importer.read_ahead import read_ahead


def test_lines_are_yielded_before_the_next_arrives() -> None:
    more = Event()

    def slow() -> Iterator[int]:
        yield 1
        yield 2
        more.wait()
        yield 3

    ahead = read_ahead(slow())
    assert [next(ahead), next(ahead), next(ahead)] == [1, 2, None]
    more.set()
    assert [line for line in ahead if line is not None] == [3]


def test_every_line_of_a_fast_pipe_is_yielded_in_order() -> None:
    """Also if they are more than are kept in memory."""
    assert [line for line in read_ahead(range(20_000)) if line is not None] == list(range(20_000))


def test_an_error_of_the_reader_is_raised_after_its_lines() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("broken")

    ahead = read_ahead(failing())
    assert next(line for line in ahead if line is not None) == 1
    with pytest.raises(OSError, match="broken"):
        list(ahead)
