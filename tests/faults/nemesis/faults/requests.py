"""Requests of handlers to the broker that are late or unanswered, and a broker that is slow."""

import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from queue import Empty
from random import Random
from typing import Final

from tests.faults.broker_proxy import (
    ADD_OFFSETS,
    ADD_PARTITIONS,
    END_TXN,
    FETCH,
    OFFSET_COMMIT,
    PRODUCE,
)
from tests.faults.nemesis.faults.common import Broken, Fault, wait
from tests.faults.nemesis.system import System

_LOST: Final = {
    "produce": PRODUCE,
    "fetch": FETCH,
    "add partitions": ADD_PARTITIONS,
    "add offsets": ADD_OFFSETS,
    "end of transaction": END_TXN,
    "offset commit": OFFSET_COMMIT,
}
_HELD_BACK: Final = {"end of transaction": END_TXN, "add offsets": ADD_OFFSETS}
_SLOWED: Final = {"all": None, **_LOST}
# How long the broker runs, and for how long at most it is then frozen.
_RUNS_SECONDS, _FROZEN_MAX_SECONDS = 0.05, 0.25


@contextmanager
def _answer_lost(system: System, target: str, chance: Random) -> Broken:
    proxy, kind = system.proxies[target], chance.choice(sorted(_LOST))
    proxy.lose_answer(_LOST[kind])
    if wait(proxy.done.is_set):
        system.happened[f"answer lost: {kind}"] += 1
    proxy.leave_alone()
    yield


@contextmanager
def _held_back(system: System, target: str, chance: Random) -> Broken:
    """Keep a request of a transaction, and let it go when later ones may have begun."""
    proxy, kind = system.proxies[target], chance.choice(sorted(_HELD_BACK))
    proxy.hold_back(_HELD_BACK[kind])
    is_held = wait(proxy.done.is_set)
    proxy.leave_alone()
    yield
    if is_held:
        with suppress(OSError, Empty):  # the broker has died since
            code = proxy.let_go()
            system.happened[f"{kind} carried out late: Kafka's code {code}"] += 1


@contextmanager
def _delayed(system: System, target: str, chance: Random) -> Broken:
    """Delay a handler's requests, those of one kind or all, while everything inside happens."""
    proxy, kind = system.proxies[target], chance.choice(sorted(_SLOWED))
    seconds = chance.uniform(0.05, 0.3) if kind == "all" else chance.uniform(0.2, 2)
    proxy.slow_down(seconds, _SLOWED[kind])
    try:
        yield
    finally:
        if proxy.done.is_set():
            system.happened[f"requests delayed: {kind}"] += 1
        proxy.leave_alone()


@contextmanager
def _broker_slowed(system: System, _target: str, chance: Random) -> Broken:
    """Freeze the broker most of the time, for all of its clients."""
    ended = threading.Event()

    def slow() -> None:
        while not ended.wait(_RUNS_SECONDS):
            with system.servers.frozen("kafka"):
                time.sleep(chance.uniform(0, _FROZEN_MAX_SECONDS))

    thread = threading.Thread(target=slow)
    thread.start()
    system.happened["kafka slowed"] += 1
    try:
        yield
    finally:
        ended.set()
        thread.join()


REQUEST_FAULTS: Final[Mapping[str, Fault]] = {
    "request of a transaction late": _held_back,
    "answer of the broker lost": _answer_lost,
    "requests delayed": _delayed,
    "broker slowed": _broker_slowed,
}
