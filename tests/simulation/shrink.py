"""Leaves actions out of a failing plan as long as it fails (Zeller's delta debugging).

Hypothesis would shrink its own choices, but cannot begin with the choices of a seed, and it takes
longer to draw a plan than the plan takes to run.
"""

from collections.abc import Callable

from tests.simulation.plan import Plan


def shrunk(plan: Plan, fails: Callable[[Plan], bool], most_runs: int = 600) -> Plan:
    """Return a plan that fails, from which no further action can be left out in `most_runs`."""
    size = max(len(plan.actions) // 2, 1)
    runs = at = 0
    while runs < most_runs:
        fewer = plan._replace(actions=plan.actions[:at] + plan.actions[at + size :])
        runs += 1
        if fails(fewer):
            plan = fewer
        else:
            at += size
        if at >= len(plan.actions):
            if size == 1:
                break
            size, at = size // 2, 0
    return plan
