"""Batches grow until they take the permitted time, whatever the machine's speed."""

from hypothesis import given
from hypothesis import strategies as st

from producers.handler.loop import BatchSize


def settled(most_commands: int, batch_seconds: float, second_per_command: float) -> int:
    size = BatchSize(most_commands, batch_seconds)
    for _ in range(20):
        size.committed(size.most, 0.004 + size.most * second_per_command)
    return size.most


def test_a_fast_machine_fills_its_transactions() -> None:
    assert settled(10_000, 0.5, 0.000_025) == 10_000


def test_a_slow_machine_keeps_to_the_time() -> None:
    """A millisecond a command: about 500 in half a second."""
    assert 400 <= settled(10_000, 0.5, 0.001) <= 500


def test_a_batch_that_was_not_full_changes_nothing() -> None:
    """A lone command takes milliseconds, and must not make the next batch small."""
    size = BatchSize(10_000, 0.5)
    for _ in range(10):
        size.committed(size.most, 0.001)
    grown = size.most
    size.committed(1, 0.4)
    assert size.most == grown == 10_000


@given(
    st.integers(1, 100_000),
    st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 1e6)), max_size=20),
)
def test_the_bounds_hold_whatever_happens(most: int, batches: list[tuple[int, float]]) -> None:
    size = BatchSize(most, 0.5)
    for commands, seconds in batches:
        size.committed(min(commands, size.most), seconds)
        assert min(100, most) <= size.most <= most
