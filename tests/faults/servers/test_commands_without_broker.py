"""Many commands at once while the broker is killed, is away, and comes back."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from producers.client import AsyncCommandClient, Outcome
from runtime.settings import Settings
from schemas.errors import NotInTime, RollbookError
from schemas.topics import COMMANDS, HISTORY
from tests.depth import DEEP
from tests.faults.outage import Servers
from tests.log import read
from tests.processes import Rollbook, eventually

CALLERS = 64
AWAY_SECONDS = 2.0


class Load:
    """Tasks that create users until they are told to stop; `told` is what each id was told."""

    def __init__(self, client: AsyncCommandClient) -> None:
        self.told: dict[str, Outcome | RollbookError] = {}
        self._client = client
        self._stopping = False
        self._tasks = [asyncio.create_task(self._create(number)) for number in range(CALLERS)]

    async def stop(self) -> None:
        """Return once each task has its last answer."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def count(self, is_counted: Callable[[Any], bool]) -> int:
        return sum(map(is_counted, self.told.values()))

    async def _create(self, caller: int) -> None:
        number = 0
        while not self._stopping:
            number += 1
            name = f"c-{caller}-{number}"
            try:
                email = f"{name}@example.com"
                self.told[name] = await self._client.create_user(email, "Jane", 34, name)
            except RollbookError as error:
                self.told[name] = error


@pytest.mark.skipif(not DEEP, reason="takes half a minute; `make test-deep` runs it")
def test_callers_are_told_the_truth_and_continue_when_the_broker_is_back(
    settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    """Whoever was told that nothing was sent is not on the log; the others are, once."""
    rollbook.start_handler()
    told = asyncio.run(_under_load(settings, servers))
    commands = Counter(record["command_id"] for _, record in read(settings, COMMANDS))
    created = Counter(event["command_id"] for _, event in read(settings, HISTORY))
    assert set(created.values()) == {1}
    for command_id, outcome in told.items():
        if isinstance(outcome, Outcome):
            assert outcome.accepted
            assert created[command_id] == 1
        else:
            assert isinstance(outcome, NotInTime), outcome
            if outcome.code == "not_sent":
                assert commands[command_id] == 0
    ended = Counter(getattr(outcome, "status", None) for outcome in told.values())
    assert ended["accepted"] > CALLERS
    assert ended[None] >= CALLERS


async def _under_load(settings: Settings, servers: Servers) -> dict[str, Outcome | RollbookError]:
    def is_accepted(outcome: object) -> bool:
        return isinstance(outcome, Outcome)

    async with AsyncCommandClient(settings, timeout_seconds=AWAY_SECONDS) as client:
        load = Load(client)
        await _until(lambda: load.count(is_accepted) > CALLERS)
        await asyncio.to_thread(servers.crash, "kafka")
        failed = load.count(lambda outcome: not is_accepted(outcome))
        await _until(lambda: load.count(lambda o: not is_accepted(o)) >= failed + CALLERS)
        await asyncio.to_thread(servers.bring_back, "kafka")
        accepted = load.count(is_accepted)
        await _until(lambda: load.count(is_accepted) > accepted + CALLERS)
        await load.stop()
        return load.told


async def _until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition, 120)
