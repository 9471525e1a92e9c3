"""The schedule of a run: which faults overlap, when each begins and how long it lasts.

A run has rounds. In a round a few faults with different targets begin one after the other and end
in reverse order. Between rounds everything recovers and the clients pause.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

HANDLERS: Final = ("a", "b")
PROJECTORS: Final = ("postgres projector", "elasticsearch projector", "history projector")
# Fault → what it breaks. Faults with the same target never overlap.
TARGETS: Final[Mapping[str, tuple[str, ...]]] = {
    "handler killed": HANDLERS,
    "handler killed at a point": HANDLERS,
    "handler frozen": HANDLERS,
    "handler started twice": HANDLERS,
    "handler's clock moved": HANDLERS,
    "partitions rebalanced": ("group",),
    "request of a transaction late": HANDLERS,
    "answer of the broker lost": HANDLERS,
    "requests delayed": HANDLERS,
    "transaction too long": HANDLERS,
    "rebalance during a restore": HANDLERS,
    "broker killed": ("kafka",),
    "broker frozen": ("kafka",),
    "broker slowed": ("kafka",),
    "registry killed": ("registry",),
    "PostgreSQL killed": ("postgres",),
    "PostgreSQL killed in a transaction": ("postgres",),
    "PostgreSQL rewound": ("postgres",),
    "PostgreSQL frozen": ("postgres",),
    "PostgreSQL's connections cut": ("postgres",),
    "PostgreSQL read-only": ("postgres",),
    "Elasticsearch killed": ("elasticsearch",),
    "Elasticsearch frozen": ("elasticsearch",),
    "Elasticsearch overloaded": ("requests to Elasticsearch",),
    "answer of Elasticsearch lost": ("requests to Elasticsearch",),
    "write to Elasticsearch late": ("requests to Elasticsearch",),
    "projector killed": PROJECTORS,
    "projector killed at a point": PROJECTORS,
    "projector frozen": PROJECTORS,
    "projector frozen with a batch": PROJECTORS,
    "service killed": ("commands", "queries"),
    "rebuild killed": ("rebuild",),
    "swap killed": ("rebuild",),
    "handlers' offsets lost": ("group",),
    "broker's disk full": ("kafka",),
    "PostgreSQL's disk full": ("postgres",),
    "Elasticsearch's disk full": ("elasticsearch",),
}
# Not every machine allows what the disks need, and published seeds do not have what came later: a
# plan has these only if they are named.
ONLY_IF_NAMED: Final = frozenset(
    fault for fault in TARGETS if "disk" in fault or fault == "handlers' offsets lost"
)
# What breaks a server that other registries may be using as well.
SERVERS: Final = {"kafka", "registry", "postgres", "elasticsearch"}
# Where a handler can be killed (`tests.faults.nemesis.handler`), and the highest count of it.
POINTS: Final[Mapping[str, int]] = {
    "after consume": 30,
    "after decide": 30,
    "after produce": 30,
    "after send-offsets": 30,
    "after commit": 30,
    "in fold": 30,
    "in restore": 3,
    "in revocation": 1,
}
# A transaction may take five seconds (`System`), and the broker looks every second.
STALLED_SECONDS: Final = 9.0
STALLS: Final = "stalls on purpose"
ROUNDS: Final = 2
_FEWEST, _MOST = 2, 4


@dataclass(frozen=True, slots=True)
class Step:
    """A fault that begins `delay` seconds after the one before it and is held for `held` seconds.

    The faults that begin after it end before it. `seed` decides all that is random about it.
    """

    fault: str
    target: str
    delay: float
    held: float
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The rounds of a run, and how long it lasts at least; `seed` is also that of the workload."""

    seed: int
    rounds: tuple[tuple[Step, ...], ...]
    seconds: float = 30.0
    commands: int = 500


# The run that a test repeats.
SHORT: Final = Plan(
    1,
    (
        (
            Step("PostgreSQL rewound", "postgres", 0.5, 0.0, 1),
            Step("projector frozen", "elasticsearch projector", 0.2, 0.0, 2),
            Step("service killed", "commands", 0.2, 0.0, 3),
            Step("handler killed at a point", "a", 0.2, 0.5, 5),
            Step("broker killed", "kafka", 0.2, 1.0, 6),
        ),
    ),
    seconds=10.0,
    commands=150,
)


def plan_of(seed: int, *, only_processes: bool = False, only: Collection[str] = ()) -> Plan:
    """Return the plan of a seed: always the same. With `only_processes` no server is broken.

    `only` names the faults to choose from; by default, those that need nothing of the machine.
    """
    chance = Random(f"nemesis-{seed}")
    faults = sorted(
        fault
        for fault, targets in TARGETS.items()
        if fault in (only or TARGETS.keys() - ONLY_IF_NAMED)
        and not (only_processes and SERVERS.intersection(targets))
    )
    return Plan(seed, tuple(_round(chance, faults) for _ in range(ROUNDS)))


def _round(chance: Random, faults: list[str]) -> tuple[Step, ...]:
    steps: list[Step] = []
    targets = {target for fault in faults for target in TARGETS[fault]}
    wanted = min(chance.randint(_FEWEST, _MOST), len(targets))
    while len(steps) < wanted:
        fault = chance.choice(faults)
        target = chance.choice(TARGETS[fault])
        if all(step.target != target for step in steps):
            delay, held = chance.uniform(0.2, 2.5), chance.uniform(0.5, 4)
            steps.append(Step(fault, target, delay, held, chance.getrandbits(32)))
    return tuple(steps)
