"""What the readers of a run ask for: one user, with or without waiting for what was answered.

They ask all three read models, over HTTP and by command line.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final

import httpx2

from tests.faults.nemesis.system import System
from tests.faults.nemesis.workload import Workload
from tests.histories.history import Query

_WAIT_SECONDS: Final = 5
# Later than any event: the latest state, as the history has it.
_AT_THE_END: Final = "2200-01-01T00:00:00Z"
_SHOWN, _GONE, _UNAVAILABLE = {200}, {404, 410}, {503, 504}
_MOST_USERS: Final = 1_000


class Readers:
    """Each method asks once, and notes what it was shown; `flaws` are answers none should get."""

    def __init__(self, system: System, workload: Workload, flaws: list[str]) -> None:
        self._system = system
        self._workload = workload
        self._flaws = flaws

    def get(self, name: str, chance: Random) -> None:
        """Ask for a user as it is now, or as the history has it."""
        if (question := self._workload.question(chance)) is None:
            time.sleep(0.1)
            return
        user_id, wanted = question
        path, model = chance.choice(
            ((f"/users/{user_id}?", "postgres"), (f"/users/{user_id}?at={_AT_THE_END}&", "history"))
        )
        asked = _query(name, model, user_id, wanted)
        if (answer := self._ask("GET", path, wanted)) is not None:
            self._note(asked, [answer.json()] if answer.status_code in _SHOWN else [])

    def search(self, name: str, chance: Random) -> None:
        """List all users, newest first, or search for an address: then some may be missing."""
        if (question := self._workload.question(chance)) is None:
            time.sleep(0.1)
            return
        user_id, wanted = question
        text = chance.choice(("", "", chance.choice(self._workload.pool)))
        body = {"text": text, "sort": "updated", "limit": _MOST_USERS}
        asked = _query(name, "elasticsearch", user_id, wanted)
        if (answer := self._ask("POST", "/search?", wanted, body)) is not None:
            users = answer.json()["users"]
            for one in {one["user_id"] for one in users} if text else {user_id}:
                self._note(replace(asked, user_id=one), users)

    def shell(self, name: str, chance: Random) -> None:
        """Ask for a user by command line."""
        if (question := self._workload.question(chance)) is None:
            time.sleep(0.1)
            return
        user_id, wanted = question
        flags = ["--after", _token(wanted), "--timeout", str(_WAIT_SECONDS)] if wanted else []
        asked = _query(name, "postgres", user_id, wanted)
        done = self._system.rollbook.run("users", "get", user_id, "--json", *flags)
        if done.returncode in {0, 3}:
            self._note(asked, [json.loads(done.stdout)] if done.returncode == 0 else [])
        elif done.returncode not in {4, 5}:
            self._flaws.append(f"{name}: exit code {done.returncode}: {done.stderr}")

    def _ask(
        self, method: str, path: str, wanted: Mapping[int, int], body: object = None
    ) -> httpx2.Response | None:
        """Return the answer; None if there is none, because something is away."""
        headers = {"rollbook-after": _token(wanted)} if wanted else {}
        url = f"{path}timeout={_WAIT_SECONDS}"
        try:
            with self._system.http("queries") as http:
                answer = http.request(method, url, headers=headers, json=body)
        except httpx2.TransportError:
            time.sleep(0.2)
            return None
        if answer.status_code in _SHOWN | _GONE:
            return answer
        if answer.status_code not in _UNAVAILABLE:
            self._flaws.append(f"query: {answer.status_code} {answer.text}")
        time.sleep(0.2)
        return None

    def _note(self, asked: Query, shown: Iterable[Mapping[str, Any]]) -> None:
        """Note the end of a query, and what it showed of its user."""
        found = next((one for one in shown if one["user_id"] == asked.user_id), None)
        state = (found["email"], found["name"], found["age"]) if found else None
        version, ended = found["version"] if found else None, time.monotonic()
        self._workload.show(replace(asked, ended=ended, version=version, state=state))


def _query(name: str, model: str, user_id: str, wanted: dict[int, int]) -> Query:
    """Return a query that begins now."""
    return Query(name, user_id, time.monotonic(), 0, wanted, None, None, model)


def _token(wanted: Mapping[int, int]) -> str:
    return ",".join(f"{partition}:{seq}" for partition, seq in sorted(wanted.items()))
