"""A call of a producer that failed, or returned too late, does not keep the producer alive.

A producer that nobody uses any more has threads, connections and open files until it is freed, and
a handler collects garbage rarely: it must not be left in a cycle.
"""

import gc
import threading
from collections.abc import Iterator
from weakref import ref

import pytest

from producers.handler.transaction import IndefiniteError, call_with_deadline


class Owner:
    """Stands for the producer."""


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def fail(seconds: float, go: threading.Event, expected: type[Exception]) -> "ref[Owner]":
    """Let a call of an owner fail once it may `go`; return the owner, which nothing else holds."""
    owner = Owner()

    def call() -> None:
        go.wait(60)
        raise ValueError(owner)

    try:
        call_with_deadline(seconds, call)
    except expected:
        return ref(owner)
    raise AssertionError("it did not fail")


def test_a_call_that_fails_keeps_nothing_alive() -> None:
    go = threading.Event()
    go.set()
    assert fail(60, go, ValueError)() is None


def test_a_call_that_fails_too_late_keeps_nothing_alive() -> None:
    go = threading.Event()
    owner = fail(0.01, go, IndefiniteError)
    (late,) = (thread for thread in threading.enumerate() if thread.name == "transaction")
    go.set()
    late.join(60)
    del late
    assert owner() is None
