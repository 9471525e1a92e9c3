"""One warm client that waits for each answer: how long that takes, and where the time goes.

The handler's own metrics say how long it decides and commits.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Final
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from producers.client.command_client import CommandClient
from runtime.settings import Settings
from scripts.bench.workload.people import Person, people
from scripts.bench.workload.processes import running_handlers
from scripts.stack.places import free_port

DECIDING: Final = "deciding"
COMMITTING: Final = "committing the transaction"
UNDERWAY: Final = "to the handler, and back to the client"
STEPS: Final = (DECIDING, COMMITTING, UNDERWAY)
_METRICS: Final = {
    DECIDING: "rollbook_handler_decision_seconds",
    COMMITTING: "rollbook_handler_commit_seconds",
}
_ASK_SECONDS: Final = 10.0
_WARM_UP_COMMANDS: Final = 20
_COMMANDS: Final = 300


def lone_command_ms(settings: Settings) -> list[float]:
    """Return the milliseconds of each creation; the first ones, which warm up, are left out."""
    warm, measured = _some_people("lone")
    with CommandClient(settings) as client:
        _create_all(client, warm)
        return _create_all(client, measured)


def lone_steps_ms(settings: Settings) -> dict[str, float]:
    """Return step → mean milliseconds, which add up to the mean of the whole command.

    Starts a handler that serves metrics; it decides a batch for each command. Everything that is
    neither decided nor committed is underway: the command on its way through the broker, and the
    outcome once it may be read.
    """
    address = f"127.0.0.1:{free_port(set())}"
    warm, measured = _some_people("steps")
    with (
        running_handlers(replace(settings, metrics_listen=address)),
        CommandClient(settings) as client,
    ):
        _create_all(client, warm)
        before = _sums(address)
        whole = mean(_create_all(client, measured))
        after = _sums(address)
    found = {step: _mean_ms(before, after, name) for step, name in _METRICS.items()}
    return found | {UNDERWAY: whole - sum(found.values())}


def _some_people(tag: str) -> tuple[list[Person], list[Person]]:
    """Return whom to create first, to warm up, and then."""
    made = list(people(_WARM_UP_COMMANDS + _COMMANDS, tag))
    return made[:_WARM_UP_COMMANDS], made[_WARM_UP_COMMANDS:]


def _create_all(client: CommandClient, persons: Sequence[Person]) -> list[float]:
    """Create one after the other; return the milliseconds of each."""
    taken = []
    for person in persons:
        started = time.perf_counter()
        client.create_user(person.email, person.name, person.age)
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def _sums(address: str) -> dict[str, float]:
    """Return the sums and counts of all histograms."""
    with urlopen(f"http://{address}/metrics", timeout=_ASK_SECONDS) as answer:
        text = answer.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.endswith(("_sum", "_count"))
    }


def _mean_ms(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float:
    total, count = (after[name + end] - before.get(name + end, 0) for end in ("_sum", "_count"))
    return 1000 * total / count
