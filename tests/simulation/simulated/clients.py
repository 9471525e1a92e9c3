"""Simulated clients: they send commands, wait for answers, give up, send again, and query.

Everything that they see goes into a `History`, and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import cast

from projectors.contract.read_model import ReadModelVersions
from projectors.versions.visibility import LiveVersion
from schemas.records import UserCommand
from schemas.tokens import Token
from schemas.topics import COMMANDS, OUTCOMES
from tests.histories.history import FOREVER, Answer, Asked, History, Kind, Query
from tests.samples.codecs import codec
from tests.simulation.simulated.cluster import PARTITIONS
from tests.simulation.simulated.processes import CODECS
from tests.simulation.simulated.stores import OneVersion
from tests.simulation.simulated.world import World

_DECODE = codec(OUTCOMES.schema).decode
_CODES: dict[Kind, str] = {
    "create": "CreateUser",
    "update": "UpdateUser",
    "change": "ChangeEmail",
    "delete": "DeleteUser",
    "erase": "EraseUser",
}
# For how long a client waits for an answer; the product's own wait for 10 s.
PATIENCE_MS = 30_000


def _pool(history: History) -> list[str]:
    """Return two addresses of each partition, and the same ones in capitals."""
    found: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    for n in count():
        email = f"u{n}@example.com"
        here = found[history.home_of_address(email)]
        if len(here) < 2:
            here.append(email)
        if all(len(emails) == 2 for emails in found.values()):
            break
    emails = [email for both in zip(*found.values(), strict=True) for email in both]
    return emails + [email.capitalize() for email in emails]


@dataclass(slots=True)
class _Pending:
    """A command whose client still waits; `place` is its partition and offset."""

    asked: Asked
    place: tuple[int, int]
    until_ms: int


class Clients:
    """All clients of a run and what they saw."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._log = world.log
        self._found: dict[str, list[Answer]] = {}
        remembers_ids = not world.options.forgetful
        self.history = History(PARTITIONS, found=self._found, remembers_ids=remembers_ids)
        self.pool = _pool(self.history)
        self._now = count(1)
        self._numbers = count(1)
        self._pending: list[_Pending] = []
        self._answers: dict[tuple[int, int], Answer] = {}
        self._read_to = [0] * PARTITIONS
        self.users: list[str] = []
        self._versions: dict[str, int] = {}
        self._emails: dict[str, str] = {}
        self._tokens: dict[int, int] = {}
        self._visible = LiveVersion(
            cast("ReadModelVersions", OneVersion(world.store)), lambda _topic: "topic"
        )

    # -- commands

    def ask(  # noqa: PLR0917 - a plan has them in this order
        self,
        client: int,
        kind: Kind,
        who: int,
        email: int,
        expected: int,
        which_id: str,
        delivery: str,
    ) -> None:
        """Send one command; `delivery` says what the client is told of that."""
        command = self._again(who, which_id) or self._new(client, kind, who, email, expected)
        if which_id == "bad":
            command = replace(command, command_id=f"{command.command_id} bad")
        now = next(self._now)
        command = replace(command, client=str(client), began=now, ended=now, answer=None)
        if delivery == "refused":
            self.history.asked.append(replace(command, was_sent=False, ended=next(self._now)))
            return
        if delivery == "lost":  # neither arrived nor known to be lost
            self.history.asked.append(replace(command, was_sent=True, ended=next(self._now)))
            return
        place = self._append(command)
        if delivery == "unconfirmed":
            self.history.asked.append(replace(command, ended=next(self._now)))
            return
        until_ms = self._world.time.now_ms + PATIENCE_MS
        self._pending.append(_Pending(command, place, until_ms))

    def hand_over(self, who: int) -> None:
        """Have a user leave, another one take the address, and the first one erased."""
        user_id = self.users[-1 - who % len(self.users)] if self.users else ""
        email = self._emails.get(user_id)
        if email is not None:
            self.ask(0, "delete", who, 0, 0, "new", "delivered")
            self.ask(1, "create", 0, self.pool.index(email), 0, "new", "delivered")
            self.ask(2, "erase", who, 0, 0, "new", "delivered")

    def _new(self, client: int, kind: Kind, who: int, email: int, expected: int) -> Asked:
        number = next(self._numbers)
        if not self.users:
            kind = "create"
        user_id = None if kind == "create" else self.users[-1 - who % len(self.users)]
        known = self._versions.get(user_id or "", 1)
        return Asked(
            client=str(client),
            command_id=f"c{number:05}",
            kind=kind,
            began=0,
            ended=0,
            user_id=user_id,
            email=self.pool[email % len(self.pool)] if kind in {"create", "change"} else None,
            name=f"n{number}" if kind in {"create", "update"} else None,
            age=20 + number % 3 if kind in {"create", "update"} else None,
            expected_version=None if kind == "create" else (None, known, known + 1)[expected],
        )

    def _again(self, which: int, how: str) -> Asked | None:
        """Return an earlier command, as it was or with another body; None for a new one."""
        if how not in {"same", "other body"} or not self.history.asked + self._waiting():
            return None
        earlier = (self.history.asked + self._waiting())[-1 - which :][:1]
        if not earlier or " " in earlier[0].command_id:
            return None
        if how == "same":
            return replace(earlier[0], was_sent=True)
        number = next(self._numbers)
        if earlier[0].kind in {"create", "update"}:
            return replace(earlier[0], was_sent=True, name=f"n{number}")
        other = self.pool[number % len(self.pool)]
        return replace(earlier[0], was_sent=True, kind="change", email=other)

    def _waiting(self) -> list[Asked]:
        return [one.asked for one in self._pending]

    def _append(self, one: Asked) -> tuple[int, int]:
        record: UserCommand = {
            "command_id": one.command_id,
            "issued_at": self._world.time.now_ms,
            "kind": _CODES[one.kind],
            "user_id": one.user_id,
            "email": one.email,
            "name": one.name,
            "age": one.age,
            "expected_version": one.expected_version,
            "issued_by": None,
        }
        if one.user_id is None:
            number = self.history.home_of_address(one.email or "")
        else:
            number = self.history.home_of_user(one.user_id)
        value = CODECS.commands.encode(record)
        offset = self._log.append(COMMANDS.name, number, one.command_id.encode(), value)
        return number, offset

    # -- answers

    def look(self) -> None:
        """Read the outcomes that have become visible, and note those that somebody waits for."""
        for number in range(PARTITIONS):
            partition = self._log.partitions[OUTCOMES.name, number]
            while (offset := partition.next_visible(self._read_to[number])) is not None:
                self._read_to[number] = offset + 1
                outcome = _DECODE(partition.entries[offset].value)
                answer = Answer(
                    accepted=outcome["status"] == "accepted",
                    user_id=outcome["user_id"],
                    version=outcome["version"],
                    code=outcome["code"],
                    repeated=outcome["repeated"],
                    partition=number,
                    seq=outcome["seq"] or 0,
                )
                self._answers.setdefault((number, outcome["command_offset"]), answer)
                self._found.setdefault(outcome["command_id"], []).append(answer)
        for pending in list(self._pending):
            self._check(pending, self._world.time.now_ms)

    def _check(self, pending: _Pending, now_ms: float) -> None:
        answer = self._answers.get(pending.place)
        if answer is None and now_ms < pending.until_ms:
            return
        self._pending.remove(pending)
        self.history.asked.append(replace(pending.asked, ended=next(self._now), answer=answer))
        if answer is not None and answer.accepted and answer.user_id is not None:
            if answer.user_id not in self.users:
                self.users.append(answer.user_id)
            self._versions[answer.user_id] = answer.version or 0
            if pending.asked.email is not None:
                self._emails[answer.user_id] = pending.asked.email
            known = self._tokens.get(answer.partition, 0)
            self._tokens[answer.partition] = max(known, answer.seq)

    def finish(self) -> None:
        """Wait for what is still open; the registry is settled, so now or never."""
        self.look()
        for pending in list(self._pending):
            self._check(pending, FOREVER)

    def quiet(self) -> None:
        """Note that nothing is in transit."""
        self.finish()
        self.history.quiet.append(next(self._now))

    # -- queries

    def query(self, client: int, who: int, tokens: int) -> None:
        """Query a user: with the tokens of all answers so far, with some of them, or with none."""
        if not self.users:
            return
        began, user_id = next(self._now), self.users[-1 - who % len(self.users)]
        wanted = dict(self._tokens) if tokens == 0 else {}
        if tokens == 1:
            home = self.history.home_of_user(user_id)
            wanted = {p: seq for p, seq in self._tokens.items() if p == home}
        wanted = {p: seq for p, seq in wanted.items() if seq > 0}
        if wanted and not self._visible.shown([Token(wanted)]):
            return
        row = self._world.store.read(user_id)
        version, *fields = row or (None,)
        state = (fields[0], fields[1], fields[2]) if fields else None
        seen = Query(str(client), user_id, began, next(self._now), wanted, version, state)
        self.history.queries.append(seen)

    def probe(self) -> Iterator[str]:
        """Ask for every address, once all is settled; yield what is not answered."""
        for number in range(len(self.pool) // 2):
            self.ask(0, "create", 0, number, 0, "new", "delivered")
        self._world.settle()
        self.look()
        yield from (f"{one.asked.command_id} got no answer" for one in self._pending)
        self.quiet()
        for number in range(len(self.users)):
            self.query(0, number, 0)
