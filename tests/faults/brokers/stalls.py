"""How long commands were not accepted: callers that each write to one partition all the time."""

import time
from itertools import pairwise
from random import Random

from runtime.settings import Settings
from schemas.records import CREATE_USER
from tests.faults.load.commands import ACCEPTED, Commands, TrackedCommand
from tests.histories.history import History
from tests.started.processes import eventually
from tests.started.services import Service


class _Caller(Commands):
    """Creates users in one partition, one after the other."""

    def __init__(self, service: Service, partition: int, partitions: int) -> None:
        self._partition = partition
        self._places = History(partitions)
        super().__init__(service, partition, callers=1, streams=0)

    def _next(self, command_id: str, chance: Random) -> TrackedCommand:
        while True:
            name = f"p{self._partition}-{chance.getrandbits(60):x}"
            email = f"{name}@example.com"
            if self._places.home_of_address(email) == self._partition:
                fields = {"email": email, "name": command_id, "age": 34}
                return TrackedCommand(name, CREATE_USER, fields)


class Stalls:
    """A caller for each partition; `tracked` is what all of them sent."""

    def __init__(self, service: Service, settings: Settings) -> None:
        count = settings.partitions
        self._callers = [_Caller(service, number, count) for number in range(count)]

    @property
    def tracked(self) -> list[TrackedCommand]:
        """Every command so far."""
        return [command for caller in self._callers for command in list(caller.tracked)]

    @property
    def flaws(self) -> list[str]:
        """Answers that no caller should get."""
        return [flaw for caller in self._callers for flaw in caller.flaws]

    def wait_for_all(self) -> None:
        """Wait until each partition has accepted a command that was sent after this call."""
        now = time.time_ns() // 1_000_000
        eventually(
            lambda: all(_accepted(one, now) for one in self._callers),
            180,
            "each partition accepts commands",
        )

    def longest_seconds(self, since_ms: int) -> float:
        """Return the longest time in which a partition accepted nothing, whichever it was."""
        gaps = [
            after - before
            for caller in self._callers
            for before, after in pairwise([since_ms, *_accepted(caller, since_ms)])
        ]
        return max(gaps) / 1_000

    def stop(self) -> None:
        """Return once each caller knows the outcome of its last command."""
        for caller in self._callers:
            caller.stop()


def _accepted(caller: Commands, since_ms: int) -> list[int]:
    """Return when commands that were answered later than `since_ms` were accepted, in order."""
    return sorted(
        told.answered_at
        for told in caller.told()
        if told.says == ACCEPTED and told.answered_at > since_ms
    )
