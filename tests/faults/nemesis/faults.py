"""The faults: each begins when its `with` block is entered, and is healed when it is left."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from queue import Empty
from random import Random
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from tests.faults.broker_proxy import (
    ADD_OFFSETS,
    ADD_PARTITIONS,
    END_TXN,
    FETCH,
    OFFSET_COMMIT,
    PRODUCE,
)
from tests.faults.nemesis.plan import POINTS, Step
from tests.faults.nemesis.system import EXTRA_HANDLER, OUTLASTS_SESSION_SECONDS, System
from tests.faults.outage import MODELS
from tests.processes import RunningProcess

Broken = Iterator[None]
_LOST: Final = {
    "produce": PRODUCE,
    "fetch": FETCH,
    "add partitions": ADD_PARTITIONS,
    "add offsets": ADD_OFFSETS,
    "end of transaction": END_TXN,
    "offset commit": OFFSET_COMMIT,
}
_REACHED_SECONDS: Final = 15.0
_CUT: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"""


def inject(system: System, step: Step) -> AbstractContextManager[None]:
    """Return the fault of a step."""
    return _FAULTS[step.fault](system, step.target, Random(step.seed))


def _wait(condition: Callable[[], object], seconds: float = _REACHED_SECONDS) -> bool:
    """Wait for what need not happen, such as a request of an idle handler."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def _killed(system: System, target: str, chance: Random) -> Broken:
    """Sometimes it is back at once; otherwise another process may take over."""
    with system.held(target) as process:
        process.kill()
        system.happened[f"{_kind(target)} killed"] += 1
        if chance.random() < 0.5:
            system.start(target)
        yield


@contextmanager
def _killed_at_point(system: System, target: str, chance: Random) -> Broken:
    point = chance.choice(sorted(POINTS))
    count = str(chance.randint(1, POINTS[point]))
    with system.held(target) as process:
        process.kill()
        armed = system.start(target, "--die-at", point, "--count", count)
        if point == "in revocation" and _wait(lambda: "restored partition" in armed.text()):
            with _moved(system):
                died = _wait(lambda: armed.returncode() is not None)
        else:
            died = _wait(lambda: armed.returncode() is not None)
        if died and armed.returncode() == -signal.SIGKILL:
            system.happened[f"handler killed {point}"] += 1
        yield


@contextmanager
def _frozen(system: System, target: str, _chance: Random) -> Broken:
    """Freeze a process until others have its partitions, then let it go on."""
    process = system.processes[target]
    began = time.monotonic()
    process.freeze()
    try:
        yield
        time.sleep(max(0.0, began + OUTLASTS_SESSION_SECONDS - time.monotonic()))
        system.happened[f"{_kind(target)} frozen"] += 1
    finally:
        process.thaw()


@contextmanager
def _twin(system: System, target: str, _chance: Random) -> Broken:
    """Run a second handler of the same identity; a lock file prevents that on one machine."""
    elsewhere = system.rollbook.directory / "elsewhere"
    with system.changed(ROLLBOOK_STATE_DIRECTORY=str(elsewhere)):
        twin = system.rollbook.start_handler(target, wait=False)
    system.happened["handler started twice"] += 1
    try:
        yield
    finally:
        twin.kill()


@contextmanager
def _clock(system: System, target: str, chance: Random) -> Broken:
    milliseconds = chance.choice((-1, 1)) * chance.randint(1_000, 120_000)
    with system.held(target) as process:
        process.kill()
        system.start(target, "--clock-ms", str(milliseconds))
        direction = "forwards" if milliseconds > 0 else "back"
        system.happened[f"handler's clock set {direction}"] += 1
        yield


@contextmanager
def _moved(system: System) -> Iterator[RunningProcess]:
    extra = system.rollbook.start_handler(EXTRA_HANDLER, wait=False)
    try:
        yield extra
    finally:
        with suppress(TimeoutError):  # it is killed then
            extra.stop()


@contextmanager
def _rebalanced(system: System, _target: str, chance: Random) -> Broken:
    """Move partitions to a third handler and back; it may die with them."""
    with _moved(system) as extra:
        if _wait(lambda: "assigned partitions [" in extra.text()):
            system.happened["partitions moved to another handler"] += 1
        yield
        if chance.random() < 0.5:
            extra.kill()


@contextmanager
def _end_delayed(system: System, target: str, _chance: Random) -> Broken:
    """Keep an `EndTxn` and let it go when later transactions may have begun."""
    proxy = system.proxies[target]
    proxy.hold_back(END_TXN)
    has_begun = _wait(proxy.done.is_set)
    proxy.leave_alone()
    yield
    if has_begun:
        with suppress(OSError, Empty):  # the broker has died since
            code = proxy.let_go()
            system.happened[f"end of transaction delayed: Kafka's code {code}"] += 1


@contextmanager
def _answer_lost(system: System, target: str, chance: Random) -> Broken:
    proxy, kind = system.proxies[target], chance.choice(sorted(_LOST))
    proxy.lose_answer(_LOST[kind])
    if _wait(proxy.done.is_set):
        system.happened[f"answer lost: {kind}"] += 1
    proxy.leave_alone()
    yield


@contextmanager
def _server_killed(name: str, system: System, _target: str, _chance: Random) -> Broken:
    system.servers.crash(name)
    system.happened[f"{name} killed"] += 1
    try:
        yield
    finally:
        system.servers.bring_back(name)


@contextmanager
def _server_frozen(name: str, system: System, _target: str, chance: Random) -> Broken:
    with system.servers.frozen(name):
        system.happened[f"{name} frozen"] += 1
        yield
        time.sleep(chance.uniform(0, OUTLASTS_SESSION_SECONDS))


def _postgres(system: System, statement: str) -> int:
    url, password = system.settings.postgres_url, system.settings.postgres_password
    options = "-c default_transaction_read_only=off"
    url = make_conninfo(url, password=password or None, options=options)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        return connection.execute(statement.encode()).rowcount


@contextmanager
def _connections_cut(system: System, _target: str, chance: Random) -> Broken:
    for _ in range(chance.randint(1, 4)):
        system.happened["PostgreSQL's connections cut"] += bool(_postgres(system, _CUT))
        time.sleep(chance.uniform(0, 1))
    yield


@contextmanager
def _read_only(system: System, _target: str, _chance: Random) -> Broken:
    _postgres(system, "ALTER SYSTEM SET default_transaction_read_only = on")
    _postgres(system, "SELECT pg_reload_conf()")
    system.happened["PostgreSQL read-only"] += 1
    try:
        yield
    finally:
        _postgres(system, "ALTER SYSTEM RESET default_transaction_read_only")
        _postgres(system, "SELECT pg_reload_conf()")


@contextmanager
def _rebuild_killed(system: System, _target: str, chance: Random) -> Broken:
    model = chance.choice(MODELS)
    rebuild = system.rollbook.start("projector", "rebuild", model)
    time.sleep(chance.uniform(0.3, 3))
    if rebuild.returncode() is None:
        rebuild.kill()
        system.happened[f"rebuild of {model} killed"] += 1
    yield


@contextmanager
def _swap_killed(system: System, _target: str, chance: Random) -> Broken:
    model = chance.choice(MODELS)
    rebuild = system.rollbook.start("projector", "rebuild", model)
    yield
    if not _wait(lambda: rebuild.returncode() is not None, 40):
        rebuild.kill()
        return
    swap = system.rollbook.start("projector", "swap", model)
    time.sleep(chance.uniform(0.1, 1))
    if swap.returncode() is None:
        swap.kill()
        system.happened[f"swap of {model} killed"] += 1


def _kind(target: str) -> str:
    return "handler" if len(target) == 1 else target


_Fault = Callable[[System, str, Random], AbstractContextManager[None]]
_FAULTS: Final[Mapping[str, _Fault]] = {
    "handler killed": _killed,
    "handler killed at a point": _killed_at_point,
    "handler frozen": _frozen,
    "handler started twice": _twin,
    "handler's clock moved": _clock,
    "partitions rebalanced": _rebalanced,
    "end of transaction delayed": _end_delayed,
    "answer of the broker lost": _answer_lost,
    "broker killed": partial(_server_killed, "kafka"),
    "broker frozen": partial(_server_frozen, "kafka"),
    "registry killed": partial(_server_killed, "registry"),
    "PostgreSQL killed": partial(_server_killed, "postgres"),
    "PostgreSQL frozen": partial(_server_frozen, "postgres"),
    "PostgreSQL's connections cut": _connections_cut,
    "PostgreSQL read-only": _read_only,
    "Elasticsearch killed": partial(_server_killed, "elasticsearch"),
    "Elasticsearch frozen": partial(_server_frozen, "elasticsearch"),
    "projector killed": _killed,
    "projector frozen": _frozen,
    "service killed": _killed,
    "rebuild killed": _rebuild_killed,
    "swap killed": _swap_killed,
}
