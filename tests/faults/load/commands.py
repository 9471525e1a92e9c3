"""Callers of the command service that repeat requests as docs/http.md advises, until an answer.

What each was told is kept, to be compared with the log (`tests.faults.load.ledger`).
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Final, NamedTuple

import httpx2

from schemas.records import CREATE_USER, ERASE_USER, UPDATE_USER
from tests.started.processes import DEEP_PATIENCE, eventually
from tests.started.services import CommandLines, Service

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
UNDECIDED: Final = "undecided"  # it may still be decided
CERTAIN: Final = "certain"  # it is on the log, and not decided yet
NOT_SENT: Final = "not_sent"
SILENCE: Final = "silence"  # the connection broke before there was an answer
FINAL: Final = {ACCEPTED, REJECTED}
# The statuses of an answer, by what it says. One that a route has for a rejection is its code's.
_SAYS: Final = {200: ACCEPTED, 201: ACCEPTED, 202: CERTAIN, 503: NOT_SENT, 504: UNDECIDED}
_REJECTIONS: Final = {"user_already_exists": 409, "version_conflict": 412, "user_not_found": 404}
_PREFERENCES: Final = ("", "wait=1", "respond-async", "wait=5")
_LINES: Final = 40
_FOLLOW_SECONDS: Final = 4.0
# The servers, the services and their callers share a few processors.
_PAUSE_SECONDS: Final = 0.05
_SHARED_ADDRESSES: Final = 30
_RECENT_USERS: Final = 40
# A caller that is never told the outcome of a command fails the test.
_PATIENCE_SECONDS: Final = 120 * DEEP_PATIENCE


class Told(NamedTuple):
    """What a caller was told, and when it asked and got the answer, in Unix milliseconds."""

    says: str
    sent_at: int
    answered_at: int
    outcome: dict[str, Any]
    location: str | None = None


@dataclass
class TrackedCommand:
    """A command, and what its caller was told each time it sent it.

    `stream` names the request of many commands that it was part of.
    """

    command_id: str
    kind: str
    fields: dict[str, Any]
    stream: str = ""
    told: list[Told] = field(default_factory=list)

    @property
    def user_id(self) -> str:
        """The user that it changes."""
        return str(self.fields["user_id"])

    def is_decided(self) -> bool:
        """Return whether its caller knows the outcome."""
        return bool(self.told) and self.told[-1].says in FINAL


class KnownUser(NamedTuple):
    """A user as the last answer about it has shown it."""

    user_id: str
    email: str
    version: int
    token: str


class Commands:
    """Threads that send one command after the other, or many in one request.

    They share a few addresses and the users that they change, so some commands are rejected.
    `seed` decides what they send.
    """

    def __init__(self, service: Service, seed: int, *, callers: int = 6, streams: int = 1) -> None:
        self.service = service
        self.tracked: list[TrackedCommand] = []
        self.known: list[KnownUser] = []
        self.flaws: list[str] = []
        self._stop = threading.Event()
        runs: list[tuple[Callable[[int, random.Random], None], int]] = [
            *((self._call, number) for number in range(callers)),
            *((self._stream, callers + number) for number in range(streams)),
        ]
        self._threads = [
            threading.Thread(target=run, args=(n, random.Random(f"{seed}-{n}")), daemon=True)
            for run, n in runs
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return once each caller knows the outcome of its last command."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def told(self) -> Iterator[Told]:
        """Yield every answer so far."""
        for command in list(self.tracked):
            yield from list(command.told)

    def count(self, *says: str) -> int:
        """Return how many answers say one of these."""
        return sum(told.says in says for told in self.told())

    def wait_for(self, count: int, *says: str) -> None:
        """Wait for so many more answers that say one of these."""
        wanted = self.count(*says) + count
        eventually(lambda: self.count(*says) >= wanted, 90, f"{count} more answers: {says}")

    def _call(self, number: int, chance: random.Random) -> None:
        """Send one command after the other; each caller asks for another way to wait."""
        preference = _PREFERENCES[number % len(_PREFERENCES)]
        count = 0
        while not self._stop.wait(_PAUSE_SECONDS):
            count += 1
            command = self._next(f"c-{number}-{count}", chance)
            self.tracked.append(command)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not command.is_decided() and time.monotonic() < deadline:
                self._send(command, preference)

    def _next(self, command_id: str, chance: random.Random) -> TrackedCommand:
        recent = self.known[-_RECENT_USERS:]
        kind = chance.choices((CREATE_USER, UPDATE_USER, ERASE_USER), (5, 6, 1))[0]
        if kind == CREATE_USER or not recent:
            name = command_id
            if chance.random() < 0.2:
                name = f"shared-{chance.randrange(_SHARED_ADDRESSES)}"
            fields = {"email": f"{name}@example.com", "name": command_id, "age": 34}
            return TrackedCommand(command_id, CREATE_USER, fields)
        user = chance.choice(recent)
        if kind == ERASE_USER:
            return TrackedCommand(command_id, kind, {"user_id": user.user_id})
        version = {"expected_version": user.version} if chance.random() < 0.5 else {}
        return TrackedCommand(
            command_id, kind, {"user_id": user.user_id, "name": command_id, **version}
        )

    def _send(self, command: TrackedCommand, preference: str) -> None:
        sent_at = _now_ms()
        try:
            answer = self.service.http.request(**_request(command, preference))
        except httpx2.TransportError:
            self._note(command, Told(SILENCE, sent_at, _now_ms(), {}))
            time.sleep(0.1)
            return
        outcome = answer.json()
        says = _SAYS.get(answer.status_code, REJECTED)
        if says == REJECTED and _REJECTIONS.get(outcome.get("code")) != answer.status_code:
            self.flaws.append(f"{command.command_id}: {answer.status_code} {answer.text}")
        location = answer.headers.get("location") if says in {CERTAIN, UNDECIDED} else None
        self._note(command, Told(says, sent_at, _now_ms(), outcome, location))
        if says == NOT_SENT:
            time.sleep(int(answer.headers["retry-after"]))
        elif location:
            self._follow(command, location)

    def _follow(self, command: TrackedCommand, location: str) -> None:
        """Ask for the outcome of a command for a while; it may take longer."""
        deadline = time.monotonic() + _FOLLOW_SECONDS
        while time.monotonic() < deadline:
            sent_at = _now_ms()
            try:
                answer = self.service.http.get(location)
            except httpx2.TransportError:
                return
            if answer.status_code == 200:
                outcome = answer.json()
                self._note(command, Told(outcome["status"], sent_at, _now_ms(), outcome))
                return
            if answer.status_code not in {202, 503, 504}:
                self.flaws.append(f"{location}: {answer.status_code} {answer.text}")
            time.sleep(0.3)

    def _stream(self, number: int, chance: random.Random) -> None:
        """Send many commands in one request; send again those that had no answer."""
        count = 0
        while not self._stop.wait(_LINES * _PAUSE_SECONDS):
            count += 1
            stream = f"s-{number}-{count}"
            lines = [self._next(f"{stream}-{n}", chance) for n in range(_LINES)]
            for command in lines:
                command.stream = stream
            self.tracked += lines
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while lines and time.monotonic() < deadline:
                self._send_lines(lines)
                lines = [command for command in lines if not command.is_decided()]

    def _send_lines(self, lines: list[TrackedCommand]) -> None:
        sent_at = _now_ms()
        missing = dict(enumerate(lines, 1))
        with suppress(OSError, HTTPException), closing(CommandLines(self.service)) as request:
            request.send(*(_line(command) for command in lines))
            request.send_bytes(b"")  # the end of the body
            for answer in request.answers():
                command = missing.pop(answer["line"])
                self._note(command, Told(answer["status"], sent_at, _now_ms(), answer))
        for command in missing.values():
            self._note(command, Told(SILENCE, sent_at, _now_ms(), {}))
        if missing:
            time.sleep(0.5)

    def _note(self, command: TrackedCommand, told: Told) -> None:
        command.told.append(told)
        if told.says == ACCEPTED and command.kind != ERASE_USER:
            found = told.outcome
            email = command.fields.get("email") or next(
                (one.email for one in self.known if one.user_id == found["user_id"]), ""
            )
            self.known.append(KnownUser(found["user_id"], email, found["version"], found["token"]))


def _request(command: TrackedCommand, preference: str) -> dict[str, Any]:
    """Return the request of a command: its method, address, headers and body."""
    fields = dict(command.fields)
    headers = {"idempotency-key": command.command_id, "prefer": preference}
    if command.kind == CREATE_USER:
        return {"method": "POST", "url": "/users", "headers": headers, "json": fields}
    user = f"/users/{fields.pop('user_id')}"
    if command.kind == ERASE_USER:
        return {"method": "POST", "url": f"{user}/erasure", "headers": headers}
    if (version := fields.pop("expected_version", None)) is not None:
        headers["if-match"] = f'"{version}"'
    return {"method": "PATCH", "url": user, "headers": headers, "json": fields}


def _line(command: TrackedCommand) -> dict[str, Any]:
    """Return a command as a line of a stream."""
    return {"kind": command.kind, "command_id": command.command_id, **command.fields}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
