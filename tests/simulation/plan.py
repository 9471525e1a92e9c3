"""What one seed decides: the settings of a run, what clients ask, and what breaks when.

A plan is plain data and complete: a run makes no other choice. So a failing one can be shortened by
leaving actions out (`tests.simulation.shrink`).
"""

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

ACTIONS: Final = 80
HANDLERS: Final = "abc"
PROJECTORS: Final = ("p0", "p1")
CLIENTS: Final = 3

# Each point of a process at which something can happen. The first four are in our own code, the
# others before and after a request to the broker or a store.
INNER_POINTS: Final = ("consumed", "decide", "fold", "folded", "revoke", "restore")
REQUESTS: Final = (
    "init_transactions",
    *("produce_batch",) * 3,
    *("send_offsets_to_transaction",) * 4,
    *("commit_transaction",) * 5,
    "abort_transaction",
)
STORE_POINTS: Final = ("before write", "before checkpoint", "after write")
KINDS: Final = ("create",) * 4 + ("change",) * 7 + ("update",) * 4 + ("delete", "erase")
IDS: Final = ("new",) * 12 + ("same",) * 3 + ("other body",) * 2 + ("bad",)
DELIVERIES: Final = ("delivered",) * 12 + ("unconfirmed", "unconfirmed", "refused", "lost")


class Options(NamedTuple):
    """The settings of a run."""

    batch_commands: int
    fetch_records: int  # how many a reader gets at once
    forgetful: bool  # the window of remembered command ids is tiny
    clock_lead_seconds: int
    recommit_seconds: float
    store: str


class Action(NamedTuple):
    """One thing that happens: its name, and numbers that say to whom and how."""

    name: str
    arguments: tuple[int | str, ...] = ()


class Plan(NamedTuple):
    """A whole run."""

    options: Options
    actions: tuple[Action, ...]


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed; always the same one."""
    chance = Random(seed)
    options = Options(
        batch_commands=chance.choice((1, 2, 5, 100)),
        fetch_records=chance.choice((2, 5, 100)),
        forgetful=chance.random() < 0.1,
        clock_lead_seconds=chance.choice((0, 0, 0, 120)),
        recommit_seconds=chance.choice((0.5, 15.0, 60.0)),
        store=chance.choice(("users", "search", "history")),
    )
    weights = [weight for _, weight in _ACTIONS]
    makers = chance.choices([maker for maker, _ in _ACTIONS], weights, k=ACTIONS)
    # What is left is decided on states that were restored from half-compacted topics.
    last = (_compact(chance), Action("restart", (0,)), Action("restart", (1,)))
    return Plan(options, (*(maker(chance) for maker in makers), *last))


def _ask(chance: Random) -> Action:
    return Action(
        "ask",
        (
            chance.randrange(CLIENTS),
            chance.choice(KINDS),
            chance.randrange(6),
            chance.randrange(12),
            chance.choice((0, 0, 0, 0, 1, 1, 1, 2)),
            chance.choice(IDS),
            chance.choice(DELIVERIES),
        ),
    )


def _burst(chance: Random) -> Action:
    """Several users ask for one address before anything is decided."""
    return Action("burst", (chance.randrange(6), chance.randrange(6), chance.randrange(2, 4)))


def _step(chance: Random) -> Action:
    return Action("step", (chance.choice("aaabbbc"), chance.choice((1, 1, 2, 4))))


def _project(chance: Random) -> Action:
    return Action("project", (chance.choice(PROJECTORS), chance.choice((1, 2, 4))))


def _query(chance: Random) -> Action:
    return Action("query", (chance.randrange(CLIENTS), chance.randrange(6), chance.randrange(3)))


def _wait(chance: Random) -> Action:
    return Action("wait", (chance.choice((5, 200, 1_000, 7_000, 16_000)),))


def _break(chance: Random) -> Action:
    """Something that will happen to a handler at a point that it comes to later."""
    handler, nth = chance.choice("aabbc"), chance.choice((0, 0, 0, 0, 1, 3))
    if chance.random() < 0.4:
        point = chance.choice(INNER_POINTS)
        effects: tuple[str, ...] = ("kill", "kill", "freeze", "replace", "late", "expire")
    else:
        request = chance.choice(REQUESTS)
        when = chance.choice(("before", "after"))
        point, effects = f"{when} {request}", _effects(when, request)
    seconds = chance.choice((1, 8, 8, 12))
    return Action("arm", (handler, point, nth, chance.choice(effects), seconds))


def _effects(when: str, request: str) -> tuple[str, ...]:
    """Return what can happen before or after a request."""
    always = ("kill", "freeze", "freeze", "replace", "late", "expire", "time out")
    if request in {"init_transactions", "produce_batch"}:
        return always if when == "after" or request == "produce_batch" else (*always, "retriable")
    if when == "after":
        doubled = ("duplicate",) * 3 if request == "commit_transaction" else ()
        return (*always, "no answer", *doubled)
    delayed = ("delay",) * 4 if request == "commit_transaction" else ()
    return (*always, "refuse", "no answer", "retriable", *delayed)


def _end_late(chance: Random) -> Action:
    """A commit that arrives again during the next transaction, and a handler that dies of it."""
    return Action("end late", (chance.choice("ab"), chance.choice((1, 2, 2, 3, 3, 4))))


def _break_projector(chance: Random) -> Action:
    point = chance.choice(STORE_POINTS)
    effect = chance.choice(("kill", "kill", "freeze", "freeze", "unavailable"))
    target = chance.choice(PROJECTORS)
    return Action(
        "arm", (target, point, chance.choice((0, 0, 1)), effect, chance.choice((1, 8, 8)))
    )


def _skew(chance: Random) -> Action:
    step = chance.choice((-3_600_000, -90_000, -2_000, 1, 2_000, 90_000, 3_600_000))
    return Action("skew", (chance.choice("ab"), step))


def _numbered(name: str, most: int) -> Callable[[Random], Action]:
    """Return a maker of actions that have one number."""
    return lambda chance: Action(name, (chance.randrange(most),))


_compact: Final = _numbered("compact", 1 << 16)
_ACTIONS: Final[tuple[tuple[Callable[[Random], Action], int], ...]] = (
    (_ask, 45),
    (_burst, 4),
    (_numbered("hand over", 6), 6),
    (_step, 30),
    (_project, 8),
    (_query, 8),
    (_wait, 5),
    (_break, 13),
    (_break_projector, 7),
    (_end_late, 3),
    (_skew, 2),
    (_compact, 5),
    (_numbered("expire commands", 4), 1),
    (_numbered("lose messages", 3), 1),
    (_numbered("lose offsets", 1 << 16), 1),
    (_numbered("old offsets", 1 << 16), 1),
    (_numbered("rewind store", 4), 3),
    (_numbered("restart", len(HANDLERS)), 2),
    (_numbered("settle", 1), 1),
)
