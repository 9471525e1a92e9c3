"""Measures what a handler's state costs: bytes of memory per user, and how fast it is restored."""

import gc
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer

from producers.domain.outcome_window import OutcomeWindow
from producers.domain.state import PartitionState
from producers.handler.clients import Codecs
from producers.handler.members import GROUP
from producers.handler.partitions.restore import Restore
from producers.handler.start import KafkaClients
from runtime.kafka.registry import Registry
from runtime.memory import collect_rarely, release_free_memory
from runtime.settings import Settings
from scripts.bench.workload.processes import await_commits, resident_bytes
from scripts.bench.workload.registry_under_test import send_creates

_FILL_USERS = 50_000


@dataclass(frozen=True, slots=True)
class Restored:
    """One restore of all partitions, in a process that did nothing before."""

    users: int
    outcomes: int
    seconds: float
    users_bytes: int
    window_bytes: int


def fill(
    settings: Settings, users: int, alive: Callable[[], bool], report: Callable[[str], None]
) -> None:
    """Create `users` more users through the running handler.

    So the log is exactly what a handler writes, outcomes and transactions included.
    """
    group, unseen = settings.named(GROUP), dict[int, int]()
    for start in range(0, users, _FILL_USERS):
        report(f"  created {start:,} of {users:,} users to restore")
        ends = send_creates(settings, min(_FILL_USERS, users - start), f"state{start}")
        # Stay one batch behind, which is decided while the next one is sent.
        await_commits(settings, group, unseen, alive)
        unseen = ends
    await_commits(settings, group, unseen, alive)


class _WithoutOutcomes(Restore):
    """Restores as if every command were older than the window in which repeats are recognised."""

    def _first_outcome(self, reader: Consumer, low: int, end: int) -> int:  # noqa: ARG002
        return end


def restore_in_own_process(settings: Settings, *, with_outcomes: bool = True) -> Restored:
    """Restore every partition in a new process.

    `with_outcomes` also those of the commands; without them, users whose last command is older than
    five minutes are restored.
    """
    spawn = multiprocessing.get_context("spawn")
    kind = Restore if with_outcomes else _WithoutOutcomes
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(_restore, settings, kind).result()


def _restore(settings: Settings, kind: type[Restore]) -> Restored:
    collect_rarely()  # like a handler
    codecs, clients = Codecs.from_registry(Registry(settings)), KafkaClients(settings, "bench")
    states: list[PartitionState] = []
    before, started = _needed_bytes(), time.perf_counter()
    for number in range(settings.partitions):
        with closing(kind(settings, number, codecs, clients)) as restore:
            state = None
            while state is None:
                state = restore.step()
        states.append(state)
    seconds = time.perf_counter() - started
    outcomes, with_windows = sum(len(state.window) for state in states), _needed_bytes()
    # A second restore without windows would differ by more than the windows take.
    for state in states:
        state.window = OutcomeWindow(1, 1)
    without_windows = _needed_bytes()
    return Restored(
        users=sum(len(state.users) for state in states),
        outcomes=outcomes,
        seconds=seconds,
        users_bytes=without_windows - before,
        window_bytes=with_windows - without_windows,
    )


def _needed_bytes() -> int:
    """Return this process's resident memory without what it could free at once."""
    gc.collect()
    release_free_memory()
    return resident_bytes(os.getpid())
