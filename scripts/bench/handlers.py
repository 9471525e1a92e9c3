"""Runs real `rollbook handler run` processes for a benchmark and sees what they have committed."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
)
from confluent_kafka.admin import AdminClient

from producers.handler.start import GROUP
from runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.topics import COMMANDS
from scripts.bench.registry_under_test import send_creates

ROLLBOOK = str(Path(sys.executable).with_name("rollbook"))
WARM_COMMANDS = 1_000

_READY_SECONDS = 120.0
_MOST_SECONDS = 1_800.0
# Often enough for the shortest measurement, seldom enough to cost it nothing.
_LOOK_SECONDS = 0.01


def environment_of(settings: Settings) -> dict[str, str]:
    """Return an environment in which `rollbook` has exactly these settings."""
    own = {
        f"ROLLBOOK_{spec.name.upper()}": getattr(settings, spec.name) for spec in fields(settings)
    }
    return os.environ | {name: str(value) for name, value in own.items()}


@contextmanager
def running_handlers(settings: Settings, processes: int = 1) -> Iterator[Callable[[], bool]]:
    """Run a handler of so many processes, warm and sharing the partitions evenly when entered.

    Gives a function that says whether it still runs.
    """
    with tempfile.TemporaryDirectory() as directory:
        environment = environment_of(replace(settings, state_directory=directory))
        log = Path(directory, "handler.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [ROLLBOOK, "handler", "run", "--instance", "bench", "--processes", str(processes)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

        def alive() -> bool:
            return process.poll() is None

        try:
            _await_balance(settings, processes, alive)
            warm_up(settings, settings.named(GROUP), alive)
            yield alive
        except CheckFailed as failed:
            raise CheckFailed(f"{failed}: {_last_words(log)}") from failed
        finally:
            process.terminate()
            process.wait()


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it wrote no log"


def _await_balance(settings: Settings, members: int, alive: Callable[[], bool]) -> None:
    """Wait until so many members of the handlers' group have their fair share each."""
    client, deadline = admin(settings), time.monotonic() + _READY_SECONDS
    while not _is_balanced(client, settings, members):
        if not alive() or time.monotonic() > deadline:
            raise CheckFailed("the handler did not start")
        time.sleep(0.05)


def _is_balanced(client: AdminClient, settings: Settings, members: int) -> bool:
    [description] = client.describe_consumer_groups(
        [settings.named(GROUP)], request_timeout=REQUEST_TIMEOUT_SECONDS
    ).values()
    try:
        group = description.result()
    except KafkaException:  # there is no such group yet
        return False
    shares = [len(member.assignment.topic_partitions) for member in group.members]
    return bool(
        group.state == ConsumerGroupState.STABLE
        and len(shares) == members
        and sum(shares) == settings.partitions
        and max(shares) - min(shares) <= 1
    )


def warm_up(settings: Settings, group: str, alive: Callable[[], bool]) -> None:
    """Have every partition read by `group` decide some commands first."""
    await_commits(settings, group, send_creates(settings, WARM_COMMANDS, "warm"), alive)


def await_commits(
    settings: Settings, group: str, ends: Mapping[int, int], alive: Callable[[], bool]
) -> None:
    """Return once `group` has committed the commands up to `ends`, partition → offset.

    Offsets are committed with the outcomes, in one transaction. Raises `CheckFailed` if who should
    do it has ended.
    """
    client, deadline = admin(settings), time.monotonic() + _MOST_SECONDS
    while True:
        committed = _committed(client, settings, group)
        if all(committed.get(number, -1) >= end for number, end in ends.items()):
            return
        if not alive() or time.monotonic() > deadline:
            raise CheckFailed("not all commands were decided")
        time.sleep(_LOOK_SECONDS)


def _committed(client: AdminClient, settings: Settings, group: str) -> dict[int, int]:
    """Return partition → the committed offset of the commands."""
    [answer] = client.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=REQUEST_TIMEOUT_SECONDS
    ).values()
    try:
        places = answer.result().topic_partitions
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    topic = settings.named(COMMANDS.name)
    return {place.partition: place.offset for place in places if place.topic == topic}
