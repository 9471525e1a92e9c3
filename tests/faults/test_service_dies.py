"""A handler and the service of commands killed under load: no caller gets an untrue answer."""

import random
import threading
from collections import Counter
from typing import Any, NamedTuple

import httpx2

from runtime.settings import Settings
from schemas.topics import COMMANDS, HISTORY, OUTCOMES
from tests.depth import depth
from tests.log import read
from tests.processes import Rollbook, eventually
from tests.services import Service

SEED = 20_261_128
CALLERS = 8
KILLS = depth(2, 12)
# So many users are created between two kills.
USERS = depth(80, 1_000)


class Told(NamedTuple):
    """What a caller was told about the creation with this id; status 0: it got no answer."""

    command_id: str
    status: int
    answer: dict[str, Any]


class Callers:
    """Threads that create users one after the other, each with a new address and id."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.told: list[Told] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return once each caller has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def created(self) -> int:
        """Return how many callers were told that their user is created."""
        return sum(told.status == 201 for told in self.told)

    def wait_for(self, users: int) -> None:
        """Wait until so many users are created."""
        eventually(lambda: self.created() >= users, what=f"{users} users")

    def _run(self, caller: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            name = f"c-{caller}-{number}"
            try:
                answer = self.service.http.post(
                    "/users",
                    json={"email": f"{name}@example.com", "name": "Jane", "age": 34},
                    headers={"idempotency-key": name},
                )
            except httpx2.TransportError:
                self.told.append(Told(name, 0, {}))
                self._stop.wait(0.1)
            else:
                self.told.append(Told(name, answer.status_code, answer.json()))


def test_what_callers_were_told_is_what_happened(settings: Settings, rollbook: Rollbook) -> None:
    chance = random.Random(SEED)
    handler = rollbook.start_handler()
    services = [Service(rollbook, "commands")]
    callers = Callers(services[0])
    try:
        for kill in range(KILLS):
            wanted = callers.created() + chance.randint(USERS // 2, USERS)
            callers.wait_for(wanted)
            if kill % 2:
                callers.service.process.kill()
                services.append(Service(rollbook, "commands"))
                callers.service = services[-1]
            else:
                handler.kill()
                handler = rollbook.start_handler(wait=False)
        wanted = callers.created() + USERS
        callers.wait_for(wanted)
    finally:
        callers.stop()
        for service in services:
            service.http.close()
    eventually(lambda: _ids(settings, COMMANDS) <= _ids(settings, OUTCOMES), what="all decided")
    created = Counter(event["command_id"] for _, event in read(settings, HISTORY))
    users = {event["command_id"]: event["user_id"] for _, event in read(settings, HISTORY)}
    assert set(created.values()) == {1}
    assert created.keys() == _ids(settings, COMMANDS)
    for command_id, status, answer in callers.told:
        if status == 201:
            assert users[command_id] == answer["user_id"]
        else:
            assert status in {0, 503, 504}, (status, answer)
        if status == 503:
            assert command_id not in created


def _ids(settings: Settings, topic: Any) -> set[str]:
    return {record["command_id"] for _, record in read(settings, topic)}
