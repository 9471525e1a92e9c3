"""Carries out a plan: steps the processes, lets things break, and heals everything at the end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError

from producers.handler.loop import CommandHandler
from runtime.settings import Settings
from schemas.errors import Fenced, Misconfigured, Unavailable
from tests.simulation.plan import HANDLERS, PROJECTORS, Plan
from tests.simulation.simulated.cluster import (
    INPUTS,
    PARTITIONS,
    SESSION_MS,
    SimulatedGroup,
    SimulatedLog,
)
from tests.simulation.simulated.processes import (
    Process,
    start_handler,
    start_projector,
)
from tests.simulation.simulated.stores import STORES
from tests.simulation.simulated.virtual_time import VirtualTime
from tests.unit.producers.handler.in_memory.log import failure

_STEP_MS = 20
# How often the others are stepped while a process is frozen: seldom until sessions have ended, then
# often enough to take over, restore and decide before transactions time out.
_FROZEN_STEPS = (4, 14)
_MOST_ROUNDS_TO_SETTLE = 300

# What a process is told instead of an answer.
_ERRORS: dict[str, Callable[[], Exception]] = {
    "refuse": lambda: failure(KafkaError._TIMED_OUT, abortable=True),
    "retriable": lambda: failure(KafkaError._TIMED_OUT, retriable=True),
    "unavailable": lambda: Unavailable("the store does not answer"),
}


class Killed(BaseException):
    """The end of a process; no code under test catches it."""


class Stuck(AssertionError):
    """Not everything is decided, although nothing is broken any more."""


@dataclass(slots=True)
class Armed:
    """Something that happens when a process comes to a point for the nth time, counted from 0.

    A delayed request takes as many other requests as a pause takes seconds.
    """

    process: str
    point: str
    nth: int
    effect: str
    seconds: int


class World:
    """A registry under simulation. Use it inside `in_virtual_time` only."""

    def __init__(self, plan: Plan, time: VirtualTime) -> None:
        options = plan.options
        self.options = options
        self.time = time
        self.log = SimulatedLog(time, self.point)
        window: dict[str, Any] = {"outcomes_window_count": 6, "outcomes_window_seconds": 0.04}
        self.settings = Settings(
            partitions=PARTITIONS,
            batch_commands=options.batch_commands,
            clock_lead_seconds=options.clock_lead_seconds,
            **(window if options.forgetful else {}),
        )
        self.group = SimulatedGroup(self.log, "rollbook-handler")
        self.store = STORES[options.store](self.point)
        self.readers = SimulatedGroup(self.log, "projector")
        self.happened: Counter[str] = Counter()
        self._armed: list[Armed] = []
        self.processes: dict[str, Process] = {}
        for name in HANDLERS:
            self.processes[name] = Process(name, self._starts_handler(name))
        for name in PROJECTORS:
            start = partial(
                start_projector, self.settings, self.readers, self.store, options.fetch_records
            )
            self.processes[name] = Process(name, start)
        self.processes["c"].down_until_ms = 1 << 62  # started by the plan
        self._replaced: list[Process] = []
        self._current: Process | None = None
        self._freezing = 0

    def _starts_handler(self, name: str) -> Callable[[], CommandHandler]:
        options = self.options
        return lambda: start_handler(
            self.settings, self.group, name, options.fetch_records, options.recommit_seconds
        )

    # -- steps

    def step(self, process: Process) -> None:
        """Step a process; start it if it is down, and note if it ends."""
        if process.is_busy or self.time.now_ms < process.down_until_ms:
            return
        before, process.is_busy = self._current, True
        self._enter(process)
        try:
            if process.running is None:
                process.running = process.start()
            process.running.run_once()
        except (Killed, Fenced, Misconfigured, Unavailable) as ended:
            self.happened[f"ended: {getattr(ended, 'code', 'killed')}"] += 1
            process.running = None
        finally:
            process.is_busy = False
            self._enter(before)
        self.pass_time(_STEP_MS)

    def _enter(self, process: Process | None) -> None:
        self._current = process
        self.time.skew_ms = process.skew_ms if process else 0

    def pass_time(self, milliseconds: int) -> None:
        """Let time pass, and whatever is due."""
        self.time.now_ms += milliseconds
        self.log.time_out_old()
        self.group.expire_silent()
        self.readers.expire_silent()

    def step_all(self) -> None:
        """Step every process that can run, replaced ones included, until they end."""
        for process in [*self.processes.values(), *self._replaced]:
            self.step(process)
        self._replaced = [one for one in self._replaced if one.running or one.is_busy]

    # -- what breaks

    def arm(self, armed: Armed) -> None:
        """Prepare something that happens later."""
        self._armed.append(armed)

    def point(self, name: str) -> str | None:
        """Do what was prepared for the running process at this point; return what the caller does.

        Raises `Killed`, and what the broker or a store would answer.
        """
        self.time.now_ms += 1
        process = self._current
        if process is None:
            return None
        armed = self._due(process, name)
        if armed is None:
            return None
        self.happened[f"{armed.effect} at {name}"] += 1
        self.log.delay_requests = armed.seconds
        self._happen(process, armed.effect, armed.seconds)
        if armed.effect == "no answer" and name.startswith("before"):
            raise failure(KafkaError._TIMED_OUT)
        return armed.effect

    def _happen(self, process: Process, effect: str, seconds: int) -> None:
        if effect in _ERRORS:
            error = _ERRORS[effect]()
            raise error
        match effect:
            case "kill":
                process.down_until_ms = self.time.now_ms + seconds * 1_000
                raise Killed
            case "freeze":
                self._freeze(process, seconds)
            case "replace":
                self._replace(process)
                self._freeze(process, seconds)
            case "late":
                self.log.deliver_late()
            case "expire" if process.name in self.group.members:
                self.group.expire(process.name)
            case "time out":
                self.log.time_out(process.name)

    def _due(self, process: Process, point: str) -> Armed | None:
        for armed in self._armed:
            if (armed.process, armed.point) == (process.name, point):
                armed.nth -= 1
                if armed.nth < 0:
                    self._armed.remove(armed)
                    return armed
        return None

    def _freeze(self, process: Process, seconds: int) -> None:
        """Let the others go on while `process` stands still where it is."""
        if self._freezing == 2:
            return
        self._freezing += 1
        try:
            for share, steps in zip((0.75, 0.25), _FROZEN_STEPS, strict=True):
                for _ in range(steps):
                    self.pass_time(int(seconds * 1_000 * share / steps))
                    self.step_all()
        finally:
            self._freezing -= 1
            self._enter(process)

    def _replace(self, process: Process) -> None:
        """Start another process with the identity of one that still runs."""
        if self.processes[process.name] is process:
            self._replaced.append(process)
            self.processes[process.name] = Process(process.name, process.start)

    def restart(self, process: Process) -> None:
        """Stop a handler as SIGTERM does; it starts again with its next step."""
        process.down_until_ms = 0
        if process.running is not None and not process.is_busy:
            before, process.is_busy = self._current, True
            self._enter(process)
            try:
                process.running.close()  # type: ignore[attr-defined]
            except Killed:
                self.happened["ended: killed"] += 1
            finally:
                process.is_busy = False
                self._enter(before)
            process.running = None

    # -- the end

    def settle(self, *, heal: bool = True, restored: bool = False) -> None:
        """Repair everything and step until all is decided and projected. Raises `Stuck`.

        With `restored`, also until a handler decides each partition and has sent its open grants
        again, which it does in its first transaction.
        """
        if heal:
            self._armed.clear()
            for process in self.processes.values():
                process.down_until_ms = min(process.down_until_ms, self.time.now_ms)
        self.log.deliver_late()
        for number in range(_MOST_ROUNDS_TO_SETTLE):
            if self._is_settled() and (not restored or self._is_restored()):
                return
            self.step_all()
            if number % 10 == 9:
                self.pass_time(SESSION_MS // 4)
        raise Stuck(f"not everything is decided: {self._open()}")

    def _is_settled(self) -> bool:
        return not self._open()

    def _is_restored(self) -> bool:
        running = [self.processes[name].running for name in HANDLERS]
        decided = {
            number
            for one in running
            if isinstance(one, CommandHandler)
            for number, phase in one._ownership.ready().items()
            if not phase.resend_grants
        }
        return len(decided) == PARTITIONS

    def _open(self) -> list[str]:
        """Return what is not done yet."""
        log, found = self.log, sorted(self.log.open)
        committed = log.committed[self.group.name]
        for place, one in log.partitions.items():
            at = max(one.low, committed.get(place, 0))
            if place[0] in INPUTS and one.next_visible(at) is not None:
                found.append(f"{place} from {at}")
        topic = self.store.source.topic.name
        for number in range(PARTITIONS):
            position = self.store.positions.get(number)
            one = log.partitions[topic, number]
            if one.next_visible(position.next_offset if position else 0) is not None:
                found.append(f"{topic} {number} at {position}")
        return found
