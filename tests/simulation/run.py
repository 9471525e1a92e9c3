"""Runs one plan and checks everything."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from traceback import format_tb
from typing import Any

from tests.histories.checks import broken
from tests.simulation.invariants import broken_invariants
from tests.simulation.plan import HANDLERS, Action, Plan
from tests.simulation.simulated.clients import Clients
from tests.simulation.simulated.retention import expire_decided, expire_offsets, expire_undecided
from tests.simulation.simulated.substitutes import in_virtual_time
from tests.simulation.simulated.virtual_time import Replacement
from tests.simulation.simulated.world import Armed, Stuck, World

# What only prepares something, whose effects are counted, and what is no fault.
_UNCOUNTED = {"ask", "burst", "hand over", "step", "project", "query", "arm", "end late"}


@dataclass(slots=True)
class Result:
    """What came of a run: what broke on purpose, how commands ended, and what is wrong."""

    happened: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def run(plan: Plan, sabotage: Sequence[Replacement] = ()) -> Result:
    """Carry out a plan; with `sabotage`, parts of the product are replaced meanwhile."""
    result = Result()
    with in_virtual_time(sabotage) as time:
        world = World(plan, time)
        run_of = _Run(world)
        try:
            for action in plan.actions:
                run_of.carry_out(action)
            run_of.end(result)
        except Stuck as stuck:
            result.violations.append(str(stuck))
        except Exception as error:  # noqa: BLE001 - a crash of the product is a finding
            where = "".join(format_tb(error.__traceback__)[-2:])
            result.violations.append(f"{type(error).__name__}: {error}\n{where}")
    result.happened = world.happened
    return result


class _Run:
    """The actions of a plan."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clients = Clients(world)
        group = world.group.name
        self._actions: dict[str, Callable[..., None]] = {
            "ask": self._clients.ask,
            "burst": self._burst,
            "hand over": self._clients.hand_over,
            "step": self._step,
            "project": self._step,
            "query": self._clients.query,
            "wait": world.pass_time,
            "arm": lambda *armed: world.arm(Armed(*armed)),
            "end late": self._end_late,
            "skew": self._skew,
            "compact": lambda seed: world.log.compact(Random(seed)),
            "expire commands": partial(expire_decided, world.log, group),
            "lose messages": partial(expire_undecided, world.log, group),
            "lose offsets": lambda seed: expire_offsets(
                world.log, group, Random(seed), older=False
            ),
            "old offsets": lambda seed: expire_offsets(world.log, group, Random(seed), older=True),
            "rewind store": self._rewind,
            "restart": self._restart,
            "settle": self._settle,
        }

    def carry_out(self, action: Action) -> None:
        """Do one thing; clients look for answers after each."""
        if action.name not in _UNCOUNTED:
            self._world.happened[action.name] += 1
        self._actions[action.name](*action.arguments)
        self._clients.look()

    def end(self, result: Result) -> None:
        """Heal and settle; then check everything, and once more after every address was asked."""
        world, clients = self._world, self._clients
        self._settle(0)
        result.violations += clients.probe()
        result.violations += broken_invariants(world)
        clients.history.lost = set(world.log.lost.values())
        result.violations += broken(clients.history)
        result.answers = Counter(_ending(one) for one in clients.history.asked)
        result.answers["queries"] = len(clients.history.queries)

    def _burst(self, who: int, email: int, commands: int) -> None:
        for number in range(commands):
            self._clients.ask(number, "change", who + number, email, 0, "new", "delivered")

    def _step(self, name: str, steps: int) -> None:
        for _ in range(steps):
            self._world.step(self._world.processes[name])

    def _end_late(self, name: str, requests: int) -> None:
        """Let the handler's next commit arrive again some requests later, and kill it just then."""
        self._world.arm(Armed(name, "after commit_transaction", 0, "duplicate", requests))
        self._world.arm(Armed(name, "late end arrived", 0, "kill", 8))

    def _skew(self, name: str, milliseconds: int) -> None:
        self._world.processes[name].skew_ms += milliseconds

    def _rewind(self, steps: int) -> None:
        if self._world.store.name != "search" and self._world.store.rewind(steps):
            self._clients.history.forgets_reads = True

    def _restart(self, number: int) -> None:
        self._world.restart(self._world.processes[HANDLERS[number]])

    def _settle(self, _: int) -> None:
        self._world.settle()
        if self._world.log.has_lost_messages:
            # Grants that were lost are sent again after a restore.
            self._world.log.has_lost_messages = False
            for name in HANDLERS:
                self._world.restart(self._world.processes[name])
            self._world.settle(restored=True)
        self._clients.quiet()


def _ending(one: Any) -> str:
    if not one.was_sent:
        return "nothing sent"
    if one.answer is None:
        return "unknown"
    if not one.answer.accepted:
        return str(one.answer.code)
    return "repeated" if one.answer.repeated else "accepted"
