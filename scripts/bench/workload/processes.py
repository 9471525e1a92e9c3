"""Runs what is measured as processes: rollbook's handlers and projectors, and the peers."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from producers.handler.members import GROUP
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.topics import COMMANDS, HOPS
from scripts.bench.workload.registry_under_test import send_creates
from scripts.stack.log_end import last_lines

ROLLBOOK: Final = str(Path(sys.executable).with_name("rollbook"))
WARM_UP_COMMANDS: Final = 1_000
_READY_SECONDS: Final = 120.0
_MOST_SECONDS: Final = 1_800.0
# Often enough for the shortest measurement, rarely enough to cost it nothing.
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Running:
    """A process under measurement."""

    process: subprocess.Popen[bytes]

    def alive(self) -> bool:
        """Return whether it still runs."""
        return self.process.poll() is None

    def resident_mb(self, *, with_children: bool = False) -> float:
        """Return its resident memory in megabytes; memory that processes share counts for each."""
        pid = self.process.pid
        pids = [pid, *_children(pid)] if with_children else [pid]
        return sum(map(resident_bytes, pids)) / 1e6


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory as `ps` reports it, on Linux and macOS alike."""
    asked = ["ps", "-o", "rss=", "-p", str(pid)]
    return int(subprocess.run(asked, capture_output=True, check=True).stdout) * 1024


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
    pairs = (map(int, line.split()) for line in listed.stdout.splitlines())
    return [child for child, parent in pairs if parent == pid]


@contextmanager
def running(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, stdin: bytes = b""
) -> Iterator[Running]:
    """Run a process and give it `stdin`; terminate it on leaving.

    Adds the end of its output to a `CheckFailed` that is raised meanwhile.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "output.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output
            )
        try:
            assert process.stdin is not None  # noqa: S101 - it was asked for
            with suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(stdin)
            yield Running(process)
        except CheckFailed as failed:
            raise CheckFailed(f"{failed}; its log ends with:\n{last_lines(log, 5)}") from failed
        finally:
            process.terminate()
            process.wait()


def environment_of(settings: Settings) -> dict[str, str]:
    """Return an environment in which `rollbook` has exactly these settings."""
    own = {
        f"ROLLBOOK_{spec.name.upper()}": getattr(settings, spec.name) for spec in fields(settings)
    }
    return os.environ | {name: str(value) for name, value in own.items()}


@contextmanager
def running_projector(settings: Settings, name: str) -> Iterator[Running]:
    """Run the projector of a read model."""
    command = [ROLLBOOK, "projector", "run", name]
    with running(command, environment_of(settings)) as projector:
        yield projector


@contextmanager
def running_handlers(settings: Settings, processes: int = 1) -> Iterator[Running]:
    """Run a handler of `processes` processes, warm and with equal shares of the partitions."""
    with tempfile.TemporaryDirectory() as directory:
        environment = environment_of(replace(settings, state_directory=directory))
        options = ["--instance", "bench", "--processes", str(processes)]
        with running([ROLLBOOK, "handler", "run", *options], environment) as handler:
            _await_balance(settings, processes, handler.alive)
            warm_up(settings, settings.named(GROUP), handler.alive)
            yield handler


def commit_beginning(settings: Settings) -> None:
    """Commit offset 0 for the handlers' group, on a log whose events came without commands.

    A handler refuses to start where users exist and its group has no offsets.
    """
    places = [
        TopicPartition(settings.named(topic.name), number, 0)
        for topic in (COMMANDS, HOPS)
        for number in range(settings.partitions)
    ]
    client = admin(settings)  # kept in a variable: a garbage-collected client drops its requests
    group = ConsumerGroupTopicPartitions(settings.named(GROUP), places)
    [committed] = client.alter_consumer_group_offsets([group]).values()
    committed.result()


def _await_balance(settings: Settings, members: int, alive: Callable[[], bool]) -> None:
    """Wait until the handlers' group has this many members with equal shares."""
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
    """Have `group` decide some commands in every partition first."""
    await_commits(settings, group, send_creates(settings, WARM_UP_COMMANDS, "warm"), alive)


def await_commits(
    settings: Settings, group: str, ends: Mapping[int, int], alive: Callable[[], bool]
) -> None:
    """Return once `group` has committed the commands up to `ends`, partition → offset.

    Offsets are committed with the outcomes, in one transaction. Raises `CheckFailed` if the process
    ends before, or after half an hour.
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
