"""Simulated runs keep every promise, and a run in which something is broken does not.

`python -m tests.simulation` runs any number of seeds and prints the shortest failing plan.
"""

import pytest

from tests.depth import depth
from tests.simulation.plan import Action, Options, Plan, plan_of
from tests.simulation.run import run
from tests.simulation.saboteurs import SABOTEURS, found_after
from tests.simulation.shrink import shrunk

SEEDS = depth(20, 5_000)
MOST_SEEDS = 2_000
# Of these it takes few seeds.
QUICK_SABOTEURS = (
    "uncommitted records are read",
    "decided on a stale state",
    "claim released early",
)
OPTIONS = Options(
    batch_commands=5,
    fetch_records=5,
    forgetful=False,
    clock_lead_seconds=0,
    recommit_seconds=0.0,
    store="users",
)


@pytest.mark.timeout(3_600)
def test_no_run_breaks_a_promise() -> None:
    broken = {seed: found for seed in range(SEEDS) if (found := run(plan_of(seed)).violations)}
    assert broken == {}


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", depth(QUICK_SABOTEURS, tuple(SABOTEURS)))
def test_a_saboteur_is_found(name: str) -> None:
    assert found_after(SABOTEURS[name], MOST_SEEDS) is not None


@pytest.mark.parametrize("seed", [118149, 191839])
def test_an_address_is_free_again_once_a_lost_release_was_asked_for(seed: int) -> None:
    """The handler that restores the partition asks for it before the run is checked."""
    assert run(plan_of(seed)).violations == []


def test_a_seed_always_gives_the_same_run() -> None:
    first, second = run(plan_of(7)), run(plan_of(7))
    assert (first.happened, first.answers) == (second.happened, second.answers)


def test_a_failing_plan_is_shortened() -> None:
    def fails(plan: Plan) -> bool:
        names = [action.name for action in plan.actions]
        return "skew" in names and "compact" in names[names.index("skew") :]

    plan = next(plan for seed in range(100) if fails(plan := plan_of(seed)))
    assert [action.name for action in shrunk(plan, fails).actions] == ["skew", "compact"]


# A handler dies once the group has taken partitions from it, and before it has joined again. Back
# within its session, it gets what it was assigned last, and no rebalance begins.
RETURNS_IN_A_REBALANCE = Plan(
    OPTIONS,
    (
        Action("step", ("b", 1)),
        Action("step", ("a", 4)),
        Action("restart", (2,)),
        Action("arm", ("b", "after send_offsets_to_transaction", 0, "kill", 1)),
        Action("step", ("c", 2)),
        Action("step", ("b", 4)),
    ),
)


def test_partitions_that_a_rebalance_left_to_nobody_are_assigned_again() -> None:
    assert run(RETURNS_IN_A_REBALANCE).violations == []
    [stuck] = run(RETURNS_IN_A_REBALANCE, SABOTEURS["unassigned partitions stay"]).violations
    assert "not everything is decided" in stuck


# The commit of a grant is late, so the handler takes its result for unknown and restores. What it
# had fetched of the address messages is delivered before what it reads again.
FETCHED_BEFORE_A_SEEK = Plan(
    OPTIONS._replace(recommit_seconds=15.0, store="search"),
    (
        Action("ask", (1, "change", 3, 2, 0, "new", "delivered")),
        Action("ask", (1, "create", 4, 3, 1, "new", "delivered")),
        Action("step", ("a", 1)),
        Action("arm", ("a", "before commit_transaction", 5, "delay", 12)),
        Action("step", ("a", 1)),
        Action("ask", (0, "create", 3, 9, 1, "new", "delivered")),
        Action("ask", (1, "update", 2, 3, 0, "new", "delivered")),
        Action("burst", (2, 1, 3)),
        Action("wait", (16_000,)),
        Action("step", ("a", 1)),
        Action("arm", ("a", "before produce_batch", 0, "freeze", 1)),
        Action("step", ("a", 1)),
        Action("step", ("a", 4)),
        Action("step", ("a", 2)),
    ),
)


def test_no_stale_message_about_an_address_comes_first() -> None:
    assert run(FETCHED_BEFORE_A_SEEK).violations == []
    broken = run(FETCHED_BEFORE_A_SEEK, SABOTEURS["stale messages are decided"]).violations
    assert broken != []
