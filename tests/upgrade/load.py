"""Sends commands without pause and prints each with its answer, one JSON object per line.

    python load.py TAG SENDERS

It ends at SIGTERM, once every command that was sent has its answer. Each release runs this file
with its own packages, so it uses only what both have.
"""

import json
import random
import signal
import sys
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from itertools import count
from threading import Event, Lock
from typing import Any

import producers
from producers.client.build import (
    change_email_command,
    create_command,
    delete_command,
    erase_command,
    update_command,
)
from producers.client.command_client import CommandClient
from producers.client.outcomes import Outcome
from runtime.settings import Settings, load_settings
from schemas.errors import NotInTime, Unavailable
from schemas.records import UserCommand

# Handlers answer within seconds of being replaced; this many times ten seconds is an outage.
_MOST_TRIES = 12
_FEWEST_USERS = 5
_SHARED_ADDRESSES = 8
_RESENT_OF_LAST = 20
_REJECTED_BUT_RIGHT = "user_already_exists"


class Sender:
    """Sends commands about users that no other sender changes; only some addresses are shared."""

    def __init__(self, tag: str, settings: Settings, stop: Event, output: Lock) -> None:
        self._tag = tag
        self._settings = settings
        self._stop = stop
        self._output = output
        self._random = random.Random(tag)
        self._numbers = count()
        self._live: dict[str, tuple[int, str]] = {}  # user id → version and address
        self._deleted: list[str] = []
        self._left: deque[str] = deque(maxlen=_RESENT_OF_LAST)  # addresses
        self._sent: deque[UserCommand] = deque(maxlen=_RESENT_OF_LAST)

    def run(self) -> None:
        """Send until `stop` is set."""
        with CommandClient(self._settings) as client:
            while not self._stop.is_set():
                if self._sent and self._random.random() < 0.1:
                    self._send(client, self._random.choice(self._sent))
                    continue
                command = self._next_command()
                command["issued_by"] = self._tag
                self._sent.append(command)
                self._note(command, self._send(client, command))

    def _send(self, client: CommandClient, command: UserCommand) -> Outcome:
        """Send a command, again after a timeout, until it has its answer; print both."""
        for tries in count(1):
            try:
                answer = client.send(command)
                break
            except (NotInTime, Unavailable):
                if tries == _MOST_TRIES:
                    raise
        self._print({"command": command, "answer": asdict(answer), "tries": tries})
        return answer

    def _print(self, line: dict[str, Any]) -> None:
        with self._output:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    def _next_command(self) -> UserCommand:
        number = next(self._numbers)
        name, age = f"Zoë {self._tag} {number}", number % 100
        kind = self._random.choices(
            ("create", "update", "change", "delete", "erase"), (4, 3, 3, 1, 1)
        )
        if kind == ["create"] or len(self._live) < _FEWEST_USERS:
            return create_command(self._address(number), name, age)
        if kind == ["erase"] and self._deleted and self._random.random() < 0.5:
            return erase_command(self._deleted.pop())
        user_id = self._random.choice(list(self._live))
        version, address = self._live[user_id]
        expected = version if self._random.random() < 0.5 else None
        if kind == ["update"]:
            return update_command(user_id, name, age, expected)
        if kind == ["change"]:
            other = self._address(number, besides=address)
            return change_email_command(user_id, other, expected)
        command = delete_command if kind == ["delete"] else erase_command
        return command(user_id, expected)

    def _address(self, number: int, besides: str = "") -> str:
        """Return a new address, one that others want as well, or one that was left earlier."""
        shared = f"shared{self._random.randrange(_SHARED_ADDRESSES)}@example.com"
        choices = [f"{self._tag}-{number}@example.com"] * 3 + [shared, *list(self._left)[:1]]
        return self._random.choice([one for one in choices if one != besides])

    def _note(self, command: UserCommand, answer: Outcome) -> None:
        """Remember what the accepted command made of its user."""
        if not answer.accepted:
            if answer.code != _REJECTED_BUT_RIGHT:
                raise AssertionError(f"{command['kind']} {command['command_id']}: {answer.code}")
            return
        user_id, kind = answer.user_id or "", command["kind"]
        _, address = self._live.pop(user_id, (0, ""))
        if kind == "DeleteUser":
            self._deleted.append(user_id)
        if kind in {"DeleteUser", "EraseUser"}:
            return
        new = command.get("email") or address
        if address not in {"", new}:
            self._left.append(address)
        self._live[user_id] = answer.version or 0, new


def main(tag: str, senders: int) -> None:
    """Run `senders` senders until SIGTERM; raise the first error of one."""
    stop, output = Event(), Lock()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings().settings
    print(f"sending with {producers.__file__}", flush=True)  # noqa: T201 - the test reads it
    with ThreadPoolExecutor(senders) as pool:
        running = [
            pool.submit(Sender(f"{tag}{number}", settings, stop, output).run)
            for number in range(senders)
        ]
        wait(running, return_when=FIRST_EXCEPTION)
        stop.set()
    for one in running:
        one.result()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
