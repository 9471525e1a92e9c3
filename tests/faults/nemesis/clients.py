"""The clients of a run: each is a thread that asks for one thing after the other.

They speak to the registry as programs and people do: over HTTP one command at a time or many in one
request, in Python with both clients, and by command line, also with files to import.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from random import Random
from typing import Any, Final

import httpx2

from producers.client import AsyncCommandClient, CommandClient
from producers.client.outcomes import Outcome
from schemas.errors import Forbidden, Misconfigured, NotInTime, Unavailable
from tests.faults.nemesis.forms import (
    PATIENCE_SECONDS,
    as_imported,
    command_of,
    fields_of,
    line_of,
    person_of,
    request_of,
)
from tests.faults.nemesis.readers import Readers
from tests.faults.nemesis.system import System
from tests.faults.nemesis.workload import Workload
from tests.histories.history import Asked

_PAUSE_SECONDS: Final = 0.1
_IN_FLIGHT: Final = 4
# Until a client connects again, which takes longer than a few commands.
_ON_A_CONNECTION: Final = 10
_LINES: Final = 20
_IMPORTED: Final = 6
_NAMES: Final = (
    *("http 1", "http 2", "http 3", "lines", "python", "loop", "shell", "import"),
    *("reader 1", "reader 2", "search", "terminal"),
)
# How often in a period a client asks at most, unless once; a command line takes a second to start.
_TIMES: Final = {"reader": 4, "search": 4, "shell": 1 / 5, "import": 1 / 5, "terminal": 1 / 5}


class Clients:
    """All clients of a run; `flaws` are answers that none should get.

    Each asks at most once in `period_seconds`, readers more often and command lines less.
    """

    def __init__(self, system: System, seed: int, period_seconds: float) -> None:
        self.workload = Workload(system.settings.partitions)
        self.flaws: list[str] = []
        self._system, self._period_seconds = system, period_seconds
        self._going = threading.Event()
        self._ended = threading.Event()
        self._busy: set[str] = set()
        readers = Readers(system, self.workload, self.flaws)
        rounds = {
            "http": self._http,
            "lines": self._lines,
            "python": self._python,
            "loop": self._loop,
            "shell": self._shell,
            "import": self._import,
            "reader": readers.get,
            "search": readers.search,
            "terminal": readers.shell,
        }
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(
                    name,
                    rounds[name.partition(" ")[0]],
                    Random(f"{seed}-{name}"),
                ),
                daemon=True,
            )
            for name in _NAMES
        ]
        for thread in self._threads:
            thread.start()

    def resume(self) -> None:
        """Let all clients go on."""
        self._going.set()

    def pause(self) -> None:
        """Return once no client waits for an answer."""
        self._going.clear()
        deadline = time.monotonic() + 30 * PATIENCE_SECONDS
        while self._busy:
            assert time.monotonic() < deadline, f"clients do not come back: {self._busy}"
            time.sleep(0.05)
        self.workload.give_up()

    def stop(self) -> None:
        """End all clients."""
        self._ended.set()
        self._going.set()
        for thread in self._threads:
            thread.join()

    def accepted(self) -> int:
        """Return how many commands were answered as accepted so far."""
        return sum(bool(a.answer and a.answer.accepted) for a in list(self.workload.history.asked))

    def _run(self, name: str, act: Callable[[str, Random], None], chance: Random) -> None:
        while not self._ended.is_set():
            self._busy.add(name)
            if not self._going.is_set():
                self._busy.discard(name)
                self._going.wait()
                continue
            due = time.monotonic() + self._period_seconds / _TIMES.get(name.partition(" ")[0], 1)
            try:
                act(name, chance)
            except Exception as error:  # noqa: BLE001 - no answer that a client expects
                self.flaws.append(f"{name}: {type(error).__name__}: {error}")
                time.sleep(0.5)
            self._ended.wait(max(_PAUSE_SECONDS, due - time.monotonic()))

    # -- commands

    def _http(self, name: str, chance: Random) -> None:
        asked = self.workload.next(name, chance)
        try:
            with self._system.http("commands") as http:
                answer = http.request(**request_of(asked))
        except httpx2.TransportError as error:
            self.workload.tell(asked, None, was_sent=not isinstance(error, httpx2.ConnectError))
            time.sleep(0.5)
            return
        self._tell_json(asked, answer.json(), answer.text)

    def _tell_json(self, asked: Asked, found: dict[str, Any], text: str) -> None:
        """Note an answer: an outcome, the problem of a rejection, or that there is none."""
        code, status = found.get("code"), found.get("status")
        if status in {"accepted", "rejected"} or status in {404, 409, 412, 422}:
            self.workload.tell(asked, found)
            return
        self.workload.tell(asked, None, was_sent=code != "not_sent" and status != "not_sent")
        if status not in {"undecided", "not_sent", 503, 504}:
            self.flaws.append(f"{asked.command_id}: {text}")
        time.sleep(0.2)

    def _lines(self, name: str, chance: Random) -> None:
        lines = [self.workload.next(name, chance) for _ in range(_LINES)]
        missing = dict(enumerate(lines, 1))
        content = "".join(f"{json.dumps(line_of(asked))}\n" for asked in lines).encode()
        kind = {"content-type": "application/x-ndjson"}
        answers, was_sent = "", True
        try:
            with self._system.http("commands") as http:
                answers = http.post("/commands", content=content, headers=kind).text
        except httpx2.TransportError as error:
            was_sent = not isinstance(error, httpx2.ConnectError)
        for line in answers.splitlines():
            with suppress(json.JSONDecodeError):  # the last one, if the service died
                found = json.loads(line)
                if "line" in found:  # the service refuses a request as a whole, too
                    self._tell_json(missing.pop(found["line"]), found, line)
        for asked in missing.values():
            self.workload.tell(asked, None, was_sent=was_sent)
        time.sleep(0.3)

    def _python(self, name: str, chance: Random) -> None:
        """Connect, and send a few commands."""
        try:
            client = CommandClient(self._system.settings, timeout_seconds=PATIENCE_SECONDS)
        except (Unavailable, Misconfigured):
            time.sleep(0.3)
            return
        with closing(client):
            for _ in range(_ON_A_CONNECTION):
                asked = self.workload.next(name, chance)
                try:
                    outcome = client.send(command_of(asked))
                except (NotInTime, Unavailable, Forbidden) as error:
                    self._tell_error(asked, error)
                else:
                    self._tell_outcome(asked, outcome)
                if not self._going.is_set():
                    return

    def _tell_outcome(self, asked: Asked, outcome: Outcome) -> None:
        self.workload.tell(asked, outcome.as_fields() | {"repeated": outcome.repeated})

    def _tell_error(self, asked: Asked, error: Exception) -> None:
        is_late = isinstance(error, NotInTime) and error.code != "not_sent"
        self.workload.tell(asked, None, was_sent=is_late)

    def _loop(self, name: str, chance: Random) -> None:
        """Connect, and send commands together."""

        async def send(client: AsyncCommandClient) -> None:
            for _ in range(_ON_A_CONNECTION):
                asked = self.workload.next(name, chance)
                try:
                    outcome = await client.send(command_of(asked))
                except (NotInTime, Unavailable, Forbidden) as error:
                    self._tell_error(asked, error)
                else:
                    self._tell_outcome(asked, outcome)
                if not self._going.is_set():
                    return

        async def run() -> None:
            client = AsyncCommandClient(self._system.settings, timeout_seconds=PATIENCE_SECONDS)
            async with client:
                await asyncio.gather(*(send(client) for _ in range(_IN_FLIGHT)))

        try:
            asyncio.run(run())
        except (Unavailable, Misconfigured):
            time.sleep(0.3)

    def _shell(self, name: str, chance: Random) -> None:
        asked = self.workload.next(name, chance)
        fields = fields_of(asked)
        user = [fields.pop("user_id")] if asked.user_id else []
        action = {"change": "change-email"}.get(asked.kind, asked.kind)
        flags = [f"--{field.replace('_', '-')}={value}" for field, value in fields.items()]
        if asked.kind == "erase":
            flags.append("--yes")
        flags += ["--command-id", asked.command_id, "--timeout", str(PATIENCE_SECONDS), "--json"]
        done = self._system.rollbook.run("users", action, *user, *flags)
        if done.stdout.strip():
            self._tell_json(asked, json.loads(done.stdout), done.stdout)
            return
        code = json.loads(done.stderr.splitlines()[-1])["error"]["code"]
        self.workload.tell(asked, None, was_sent=done.returncode == 4 and code != "not_sent")
        if done.returncode not in {4, 5}:
            self.flaws.append(f"{asked.command_id}: exit code {done.returncode}: {done.stderr}")

    def _import(self, name: str, chance: Random) -> None:
        """Import a few people; an import answers no line, so nobody knows what became of each."""
        people = [self.workload.next(name, chance, kinds=("create",)) for _ in range(_IMPORTED)]
        people = [as_imported(asked) for asked in people]
        file = self._system.rollbook.directory / f"import-{people[0].name}.ndjson"
        file.write_text("".join(f"{json.dumps(person_of(one))}\n" for one in people), "utf-8")
        try:
            self._system.rollbook.run("users", "import", "--timeout", "10", "--json", str(file))
        finally:
            for asked in people:
                self.workload.tell(asked, None)
        self._ended.wait(chance.uniform(1, 4))
